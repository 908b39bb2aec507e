//! Tests of the settings that options lead to.

use super::*;
use clap::Parser;

fn config(args: &[&str]) -> Result<Config, ConfigError> {
    let typed = ["jitsiprovs"].iter().chain(args);
    Config::new(crate::cli::Cli::try_parse_from(typed).expect("parses").serve)
}

fn source_name(args: &[&str]) -> String {
    match config(args).map(|config| config.task) {
        Ok(Task::Serve(_, serve)) => serve.source.name(),
        Ok(Task::Setup(source)) => source.name(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_option_of_the_original_is_taken_in_its_own_spelling() {
    let args = "-n --http_ip 127.0.0.1 --http_port 8081 --db_type mysql --db_ip 10.0.0.1 --db_port 3307 \
                --db_name n --db_user u --db_pwd p --db_from f --pwd_fmt plain --db_admin a --db_apwd b \
                --ssl_keyfile k --ssl_certfile c -v";
    let args: Vec<&str> = args.split_whitespace().collect();
    let Task::Serve(_, serve) = config(&args).expect("usable").task else { panic!("serves") };
    assert_eq!(serve.listen, "127.0.0.1:8081".parse().expect("an address"));
    assert_eq!(serve.source.name(), "the MySQL database n at 10.0.0.1:3307");
    assert_eq!(serve.snapshot.pwd_fmt, credential::PwdFmt::Plain);
    assert!(matches!(config(&["-n", "--setup", "--db-path", "x"]).expect("usable").task, Task::Setup(_)));
}

#[test]
fn the_kind_of_database_follows_from_what_is_given() {
    for (args, expected) in [
        ("-n", "the SQLite database /var/lib/jitsiprovs/jitsiprovs.db"),
        ("-n --db-path /x", "the SQLite database /x"),
        ("-n --db-user u", "the MySQL database jitsiprovs at 127.0.0.1:3306"),
        ("-n --db-type mysql", "the MySQL database jitsiprovs at 127.0.0.1:3306"),
        ("-n --db-socket /s", "the MySQL database jitsiprovs at /s"),
    ] {
        assert_eq!(source_name(&args.split(' ').collect::<Vec<_>>()), expected);
    }
}

#[test]
fn what_contradicts_itself_names_the_options() {
    for (args, named) in [
        ("-n --db-type sqlite --db-ip x", "--db-ip"),
        ("-n --db-type mysql --db-path x", "--db-path"),
        ("-n --db-path x --db-port 1", "--db-port"),
        ("-n --db-socket s --db-ip x", "--db-socket"),
        ("-n --db-pwd x --db-pwd-file y", "--db-pwd-file"),
        ("-n --db-pwd-file /no/such/file", "--db-pwd-file"),
        ("-n --db-tls off --db-tls-ca y", "--db-tls-ca"),
        ("--setup --db-admin root", "--db-pwd-file"),
        ("-n --ssl-keyfile k", "--ssl-certfile"),
        ("-n --ssl-certfile c", "--ssl-keyfile"),
        ("-n --trusted-proxy nonsense", "--trusted-proxy"),
        ("-n --idle-timeout 0", "--idle-timeout"),
        ("-n --auth-fail-window nan", "--auth-fail-window"),
        ("-n --auth-fail-window 86401", "--auth-fail-window"),
        ("-n --auth-fail-limit 1000", "--auth-fail-limit"),
        ("-n --param-alias mac", "NAME=PARAMETER"),
        ("-n --param-alias mac=mac", "hwaddr"),
        ("-n --param-alias arch=osname", "`arch`"),
        ("-n --param-alias user.mac=hwaddr", "`user.`"),
        ("-n --param-alias Client.ip=ipaddr", "`client.`"),
        ("-n --remember-sign-ins", "--state-file"),
        ("-n --remember-sign-ins --state-file s", "--admin-secret-file"),
        ("-n --default-domain=", "--default-domain"),
        ("-n --user no-such-user", "--user no-such-user"),
        ("-n --group no-such-group", "--group no-such-group"),
    ] {
        let error = config(&args.split(' ').collect::<Vec<_>>()).err().expect(args).to_string();
        assert!(error.contains(named) && !error.contains('\n'), "{args}: {error}");
    }
}

#[test]
fn without_n_it_goes_to_the_background_with_a_pidfile_and_syslog() {
    let found = |args: &[&str]| {
        let Config { log, task, .. } = config(args).expect("usable");
        let Task::Serve(place, _) = task else { panic!("serves") };
        (place.in_background, place.pidfile, log.syslog.is_some())
    };
    assert_eq!(found(&[]), (true, Some(pidfile::DEFAULT.into()), true));
    assert_eq!(found(&["-n"]), (false, None, false));
    assert_eq!(found(&["-n", "--pidfile", "/x"]), (false, Some("/x".into()), false));
    let (_, relative, _) = found(&["--pidfile", "x"]);
    assert!(relative.is_some_and(|path| path.is_absolute()));
}

#[test]
fn the_operators_aliases_win_over_those_built_in() {
    let args = ["-n", "--param-alias", "mac=hwaddr,os=arch"];
    let Task::Serve(_, serve) = config(&args).expect("usable").task else { panic!("serves") };
    let find = |name: &str| serve.params.aliases.iter().find(|(alias, _)| alias == name).map(|(_, k)| *k);
    assert_eq!(find("mac"), Some(Known::Hwaddr));
    assert_eq!(find("os"), Some(Known::Arch));
    assert_eq!(find("user"), Some(Known::Username));
}
