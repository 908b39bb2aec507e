//! The examples in manual pages.

/// What each of a command's examples does, and its lines.
pub type Examples = &'static [(&'static str, &'static str)];

/// The examples of a command, such as `user add`. The program's name is empty.
pub fn of(command: &str) -> Examples {
    EXAMPLES.iter().find(|(name, _)| *name == command).map_or(&[], |(_, examples)| examples)
}

/// The names of commands, and their examples.
pub const EXAMPLES: &[(&str, Examples)] = &[
    (
        "",
        &[
            (
                "Create the tables in a SQLite file, add a user and a rule, and serve:",
                "jitsiprovs --setup --db-path ./jitsiprovs.db\n\
                 jitsiprovs user add alice@example.org --db-path ./jitsiprovs.db\n\
                 jitsiprovs rule add 'foo.bar=${username}' --domain example.org --db-path ./jitsiprovs.db\n\
                 jitsiprovs -n --db-path ./jitsiprovs.db",
            ),
            (
                "Create a MySQL database with its account, and serve from it over HTTPS:",
                "jitsiprovs --setup --db-ip 10.0.0.5 --db-admin root\n\
                 jitsiprovs -n --db-ip 10.0.0.5 --ssl-keyfile key.pem --ssl-certfile chain.pem --http-port 8443",
            ),
            ("Read everything again:", "kill -HUP \"$(cat /run/jitsiprovs.pid)\""),
        ],
    ),
    ("demo", &[("Serve an example on a free port:", "jitsiprovs demo --http-port 0")]),
    (
        "user add",
        &[
            (
                "Add a user, with an attribute, and type the password:",
                "jitsiprovs user add alice@example.org --set extension=17",
            ),
            (
                "Take the password from a script:",
                "printf %s \"$password\" | jitsiprovs user add bob@example.org --password-stdin",
            ),
        ],
    ),
    (
        "user list",
        &[(
            "List the users of a tenant with two of their attributes:",
            "jitsiprovs user list --domain example.org --with extension,display_name",
        )],
    ),
    ("user set", &[("Give a user another extension:", "jitsiprovs user set alice@example.org extension=18")]),
    ("user remove", &[("See what would be removed:", "jitsiprovs user remove alice@example.org --dry-run")]),
    (
        "tenant set",
        &[
            ("Set an attribute of all users of a tenant:", "jitsiprovs tenant set example.org branch=berlin"),
            ("Set one of all users:", "jitsiprovs tenant set --all support=+4930123"),
        ],
    ),
    (
        "rule add",
        &[
            (
                "Add a property for everyone of a tenant:",
                "jitsiprovs rule add 'foo.bar=1' --domain example.org",
            ),
            (
                "Add one for the tenant's clients that run Linux:",
                "jitsiprovs rule add 'foo.bar=2' --domain example.org --subject osname=Linux",
            ),
        ],
    ),
    ("rule list", &[("List the rules that set a property:", "jitsiprovs rule list --key foo.bar")]),
    ("rule set", &[("Change the value of rule 61:", "jitsiprovs rule set 61 --value 3")]),
    (
        "explain",
        &[
            ("Show what a client on Linux would get:", "jitsiprovs explain alice@example.org osname=Linux"),
            ("Show it for what her client sent last:", "jitsiprovs explain alice@example.org --last"),
        ],
    ),
    (
        "check",
        &[
            ("Look for mistakes, except weak hashes:", "jitsiprovs check --ignore weak-hash"),
            (
                "Count findings by kind:",
                "jitsiprovs check --format json | jq '[.findings[].code] | group_by(.) | map({(.[0]): length})'",
            ),
        ],
    ),
    (
        "import",
        &[(
            "See what a table of users would change, then import it:",
            "jitsiprovs import users users.csv --dry-run\njitsiprovs import users users.csv",
        )],
    ),
    ("export", &[("Save all tables:", "jitsiprovs export json >backup.json")]),
    (
        "status",
        &[(
            "Ask two nodes whether they serve the same:",
            "jitsiprovs status http://10.0.0.11:8090 http://10.0.0.12:8090",
        )],
    ),
    (
        "diff",
        &[(
            "Compare a node with the database:",
            "jitsiprovs diff http://10.0.0.11:8090 --admin-secret-file /etc/jitsiprovs/secret",
        )],
    ),
    (
        "confirm",
        &[("Confirm a loss on two nodes:", "jitsiprovs confirm http://10.0.0.11:8090 http://10.0.0.12:8090")],
    ),
    (
        "fetch list",
        &[("Show why clients of a tenant failed:", "jitsiprovs fetch list --domain example.org --failed")],
    ),
    (
        "lock clear",
        &[("Lift the locks of a user:", "jitsiprovs lock clear alice@example.org http://127.0.0.1:8090")],
    ),
    ("history", &[("List the latest edits:", "jitsiprovs history")]),
    (
        "history undo",
        &[("See what would bring back the state before edit 12:", "jitsiprovs history undo 12 --dry-run")],
    ),
    (
        "operator add",
        &[(
            "Add an operator of the console who may edit:",
            "jitsiprovs operator add carol --role edit --console-users /etc/jitsiprovs/operators",
        )],
    ),
    (
        "config",
        &[
            ("Show the options that the settings file and the environment set:", "jitsiprovs config"),
            ("Print one value, for scripts:", "jitsiprovs config http-port"),
        ],
    ),
    ("completions", &[("Complete commands in this shell:", "eval \"$(jitsiprovs completions bash)\"")]),
    (
        "man",
        &[(
            "Read a page of a program without a package:",
            "jitsiprovs man ./man\nman ./man/jitsiprovs-check.1",
        )],
    ),
];
