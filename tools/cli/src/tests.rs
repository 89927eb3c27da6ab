//! The command line as typed.

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_command_line_is_sound() {
    command_line().debug_assert();
}

#[test]
fn every_command_has_a_description_and_servers_have_examples() {
    fn walk(command: &clap::Command, path: &str) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name());
            assert!(sub.get_about().is_some(), "{path} has no description");
            walk(sub, &path);
        }
    }
    walk(&command_line(), "dropstone");
    for name in ["dev", "serve", "block", "client-proxy", "format", "doctor"] {
        let command = command_line();
        let help = command.find_subcommand(name).and_then(|sub| sub.get_after_help()).map(ToString::to_string);
        assert!(help.is_some_and(|help| help.contains("xample")), "{name} has no example");
    }
}

#[test]
fn targets_come_as_a_list_and_default_to_the_dev_cluster() {
    let cli = parse("dropstone admin status --target a:1,b:2").expect("parsed");
    assert_eq!(cli.cluster.targets(), ["a:1", "b:2"]);
    let cli = parse("dropstone --json admin member ls").expect("parsed");
    assert!(cli.cluster.json);
    if std::env::var_os("DROPSTONE_TARGET").is_none() {
        assert_eq!(cli.cluster.targets(), ports::default_targets());
    }
}

#[test]
fn what_the_manual_says_is_accepted() {
    for line in [
        "dropstone dev",
        "dropstone dev --nodes 1 --cores 4 --groups 16 --port 9000 --data x --exit",
        "dropstone dev --hosted-names",
        "dropstone env --client rclone --proxy 127.0.0.1:3130",
        "dropstone client-proxy",
        "dropstone client-proxy --listen 127.0.0.1:3130 --gateway g:443 --content c:443 --notify n:443 --pass-others",
        "dropstone serve --config n1.toml",
        "dropstone block --config b.toml",
        "dropstone format --new-id",
        "dropstone format --config n.toml --cluster 00112233445566778899aabbccddeeff --node 4 --join",
        "dropstone config check n.toml",
        "dropstone config show --origin",
        "dropstone account create ada --target h:7100",
        "dropstone account ls",
        "dropstone account list --json",
        "dropstone account show ada",
        "dropstone account end ada --yes",
        "dropstone flow list",
        "dropstone flow show 7 --json",
        "dropstone share /photos --with bob --with 3:viewer",
        "dropstone accept 10000000004 /photos --account 2",
        "dropstone unshare /photos --only bob",
        "dropstone leave /photos",
        "dropstone members /photos",
        "dropstone transfer /photos bob",
        "dropstone links",
        "dropstone sync folder /remote",
        "dropstone sync folder /remote --once --json",
        "dropstone sync folder / --dry-run --jobs 4",
        "dropstone links create /photos --members-only",
        "dropstone links rm 3",
        "dropstone admin member replace 3 --node 4 --peer h:7201 --client h:7100",
        "dropstone admin leader list --json",
        "dropstone admin token create --of ada --secret s --scopes files.content.read --no-expiry",
        "dropstone admin token ls --json",
        "dropstone admin token revoke ada",
        "dropstone admin app add key --name App --redirect http://localhost/cb",
        "dropstone admin app ls",
        "dropstone gateway --config g.toml",
        "dropstone notify --config n.toml --tier hub",
        "dropstone notifier --config n.toml",
        "dropstone env --data d",
        "dropstone admin leader balance",
        "dropstone admin leader move 5 2",
        "dropstone doctor --json",
        "dropstone gc show --json",
        "dropstone gc run --config b.toml --dry-run",
        "dropstone gc run --store /objects --target h:7100",
        "dropstone log stat x",
        "dropstone log verify x --core 1 --json",
        "dropstone log dump x --group 3 --index 10..20",
        "dropstone log dump x --frames --segment seg-00000000000000ff.log",
        "dropstone bench report bench-results/x --html report.html --csv series.csv --hgrm response.hgrm",
        "dropstone bench show result.json --json",
        "dropstone bench compare base new --gate p99:+5%,rate:-3% --unlike --html compare.html",
        "dropstone bench diff a1,a2,a3 b1,b2,b3",
        "dropstone selfcheck --seconds 6 --in-flight 64",
        "dropstone bench quick --dir /mnt/nvme --rate 2k",
        "dropstone bench run --mix sync --scale 0.1 --rate 5000 --arrival onoff(1s,4s,3) --late skip --late-limit 50ms",
        "dropstone bench run --mix my.toml --closed --clients 64 --think 5ms --duration 10s --json --target h:7100",
        "dropstone bench sweep --mix put-small --slo p99<20ms,err<0.01% --from 500 --level 5s",
        "dropstone bench run --mix sync --rate 100 --cluster 3 --dir /mnt --repeat 3 --crash --out x",
        "dropstone bench run --mix sync --rate 100 --cluster 1 --crash all --tui --admin h:1,h:2",
        "dropstone bench quick --fault 3s:kill-leader,9s:pause=n2:1s --quiet --out x",
        "dropstone bench sweep --mix sync --scale 0.1 --cluster 3 --out x",
        "dropstone bench curve",
        "dropstone bench curve --mix put-small --slo p99<20ms --from 200 --level 2s --dir /mnt --out x",
        "dropstone bench check --size xl --target h:7100",
        "dropstone bench merge a b c -o all",
        "dropstone bench list",
        "dropstone bench mixes",
        "dropstone bench null --duration 1s",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    for line in [
        "dropstone dev --nodes 2",
        "dropstone dev --cores 17",
        "dropstone dev --port 80",
        "dropstone dev --port 65300",
        "dropstone serve",
        "dropstone format --config n.toml --cluster zz --node 1",
        "dropstone format --config n.toml --node 1",
        "dropstone format --config n.toml --cluster 00112233445566778899aabbccddeeff --node 0",
        "dropstone admin member replace 3",
        "dropstone admin member replace 3 --node 4 --peer h --client h:1",
        "dropstone selfcheck --in-flight 0",
        "dropstone share /photos --with bob:owner",
        "dropstone flow show",
        "dropstone sync folder",
        "dropstone account end",
        "dropstone bench run --mix sync",
        "dropstone bench run --mix sync --rate 0",
        "dropstone bench run --mix sync --rate 100 --closed --clients 4",
        "dropstone bench run --mix sync --clients 4",
        "dropstone bench run --mix sync --rate 100 --arrival poison",
        "dropstone bench sweep --mix sync --slo p98<1ms",
        "dropstone bench run --mix sync --rate 1 --cluster 2",
        "dropstone bench run --mix sync --rate 1 --dir x",
        "dropstone bench run --mix sync --rate 1 --cluster 3 --fault 3s:sleep",
        "dropstone bench run --mix sync --rate 1 --repeat 0",
        "dropstone bench check",
        "dropstone bench check --size huge",
        "dropstone bench merge a -o b",
        "dropstone bench",
        "dropstone bench compare base",
        "dropstone frobnicate",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}
