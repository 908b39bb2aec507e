use super::*;
use crate::cli::args::Command as Typed;

/// Reads `args` with `variables`, and with a settings file of these lines.
fn read(args: &[&str], variables: &[(&str, &str)], lines: &str) -> Result<(Cli, Settings), SettingsError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("settings");
    std::fs::write(&path, lines).expect("written");
    let args = [&["jitsiprovs"], args, &["--config", path.to_str().expect("UTF-8")]].concat();
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    Settings::read(&args, variables.iter().map(|(name, value)| (name.into(), value.into())))
}

fn works(args: &[&str], variables: &[(&str, &str)], lines: &str) -> (Cli, Settings) {
    read(args, variables, lines).unwrap_or_else(|why| panic!("{args:?}: {why}"))
}

fn refused(args: &[&str], variables: &[(&str, &str)], lines: &str) -> String {
    read(args, variables, lines).err().expect("refused").to_string()
}

#[test]
fn an_option_outranks_a_variable_and_a_variable_outranks_the_file() {
    let lines = "JITSIPROVS_HTTP_PORT=1\nJITSIPROVS_ADMIN_PORT=2\nJITSIPROVS_REALM='a b'";
    let variables = [("JITSIPROVS_HTTP_PORT", "3"), ("JITSIPROVS_IDLE_TIMEOUT", ""), ("PATH", "/bin")];
    let port = |args: &[&str], variables: &[(&str, &str)]| {
        let (cli, settings) = works(args, variables, lines);
        (cli.serve.listening.http_port, settings.origin("http_port").to_string())
    };
    assert_eq!(port(&["--http-port", "4"], &variables), (4, "command line".into()));
    assert_eq!(port(&[], &variables), (3, "environment".into()));
    let (value, origin) = port(&[], &[]);
    assert!(value == 1 && origin.ends_with("/settings, line 1"), "{origin}");
    let (cli, settings) = works(&[], &variables, lines);
    assert_eq!(cli.serve.listening.admin_port, Some(2));
    assert_eq!(cli.serve.rows.realm.as_deref(), Some("a b"));
    assert!(cli.serve.limits.idle_timeout == 75.0 && settings.origin("idle_timeout") == Origin::Default);
}

#[test]
fn flags_and_lists_are_read_as_when_they_are_typed() {
    let lines = "JITSIPROVS_VERBOSE=yes\nJITSIPROVS_NO_ACCESS_LOG=0\nJITSIPROVS_TRUSTED_PROXY=10.0.0.1,::1";
    let (cli, _) = works(&[], &[], lines);
    assert!(cli.serve.process.verbose && !cli.serve.process.no_access_log);
    assert_eq!(cli.serve.listening.trusted_proxy, ["10.0.0.1", "::1"]);
    let (cli, _) = works(&["--trusted-proxy", "10.0.0.2"], &[], lines);
    assert_eq!(cli.serve.listening.trusted_proxy, ["10.0.0.2"]);
}

#[test]
fn commands_have_the_same_settings_and_ignore_those_of_others() {
    let lines = "JITSIPROVS_DB_PATH=/x.db\nJITSIPROVS_HTTP_PORT=wrong\nJITSIPROVS_ADMIN_SECRET_FILE=/secret";
    let (cli, settings) = works(&["check"], &[], lines);
    let Some(Typed::Check(check)) = cli.command else { panic!("another command") };
    assert_eq!(check.tables.database.db_path, Some("/x.db".into()));
    assert!(settings.origin("db_path").to_string().ends_with("line 1"));
    // An option that is required, too.
    let (cli, _) = works(&["diff", "http://a"], &[], lines);
    let Some(Typed::Diff(diff)) = cli.command else { panic!("another command") };
    assert_eq!(diff.admin_secret_file, PathBuf::from("/secret"));
    assert!(works(&["rule", "list"], &[], lines).0.command.is_some());
    // These work with any file.
    assert!(works(&["man", "x"], &[], "nonsense").0.command.is_some());
}

#[test]
fn what_a_higher_rank_replaces_is_left_out() {
    let mysql =
        "JITSIPROVS_DB_TYPE=mysql\nJITSIPROVS_DB_IP=10.0.0.1\nJITSIPROVS_DB_PWD=x\nJITSIPROVS_PWD_FMT=ha1";
    let database = |args: &[&str], variables: &[(&str, &str)], lines: &str| {
        works(args, variables, lines).0.serve.database
    };
    let typed = database(&["--db-path", "/x.db"], &[], mysql);
    assert!(typed.db_type.is_none() && typed.db_ip.is_none() && typed.db_pwd.is_none());
    let typed = database(&["--db-type", "sqlite"], &[], mysql);
    assert!(typed.db_ip.is_none() && typed.db_pwd.is_none());
    let typed = database(&["--db-socket", "/s"], &[], mysql);
    assert!(typed.db_ip.is_none() && typed.db_pwd.as_deref() == Some("x"));
    let typed = database(&["--db-pwd-file", "/p"], &[("JITSIPROVS_DB_NAME", "n")], mysql);
    assert!(typed.db_pwd.is_none() && typed.db_ip.is_some() && typed.db_name.as_deref() == Some("n"));
    let typed =
        database(&["--db-ip", "10.0.0.2"], &[], "JITSIPROVS_DB_TYPE=sqlite\nJITSIPROVS_DB_PATH=/x.db");
    assert!(typed.db_type.is_none() && typed.db_path.is_none());
    let variable = database(&[], &[("JITSIPROVS_DB_PATH", "/y.db")], mysql);
    assert!(variable.db_ip.is_none() && variable.db_path.is_some());
}

#[test]
fn wrong_settings_are_refused_with_their_place_and_the_fix() {
    let file = "/settings, line 2";
    for (variables, lines, words) in [
        (&[("JITSIPROVS_HTTP_PROT", "1")][..], "", &["environment", "JITSIPROVS_HTTP_PORT"][..]),
        (&[], "\nJITSIPROVS_HTTP_PROT=1", &[file, "did you mean JITSIPROVS_HTTP_PORT?"]),
        (&[], "\nHTTP_PORT=1", &[file, "jitsiprovs config"]),
        (&[], "\nJITSIPROVS_HTTP_PORT=x", &[file, "JITSIPROVS_HTTP_PORT: invalid value 'x'"]),
        (&[("JITSIPROVS_HTTP_PORT", "x")], "", &["environment: JITSIPROVS_HTTP_PORT: invalid value 'x'"]),
        (&[], "\nJITSIPROVS_PWD_FMT=md4", &[file, "possible values: md5"]),
        (&[], "a=1\nserve", &[file, "NAME=value"]),
    ] {
        let why = refused(&[], variables, lines);
        assert!(words.iter().all(|word| why.contains(word)), "{why}");
    }
    assert!(refused(&["--http-port", "x"], &[], "").starts_with("error: invalid value 'x'"));
    let args: Vec<OsString> = ["jitsiprovs", "--config", "/no/such"].map(Into::into).into();
    let why = Settings::read(&args, []).err().expect("refused").to_string();
    assert!(why.contains("/no/such") && why.contains("--config"), "{why}");
}

#[test]
fn help_shows_variables_and_no_value_of_the_file() {
    let help = refused(&["--help"], &[], "JITSIPROVS_DB_PWD=hunter2");
    assert!(help.contains("[env: JITSIPROVS_DB_PWD]") && !help.contains("hunter2"), "{help}");
}
