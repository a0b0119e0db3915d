//! The commands of `cargo xtask hosts`: faults by hand.

use std::fmt::Write as _;
use std::io::BufRead;
use std::time::Duration;

use crate::lab::{Lab, TOKEN};

/// What can be typed.
const HELP: &str = "\
cut N | heal N          pull the cable of host N, plug it in again
delay N MILLISECONDS    delay what host N receives (heal N ends it)
kill N | start N        SIGKILL for its daemon, and start it again
pause N | resume N      SIGSTOP and SIGCONT for its daemon
power-off N             end everything on host N (start N switches it on)
etcd VERB N             cut, heal, kill or start an etcd member
log N                   the last lines of its daemon's log
help | quit";

/// What was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Nothing,
    Help,
    Quit,
    Host(HostVerb, usize),
    Delay(usize, Duration),
    Member(MemberVerb, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostVerb {
    Cut,
    Heal,
    Kill,
    Start,
    Pause,
    Resume,
    PowerOff,
    Log,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MemberVerb {
    Cut,
    Heal,
    Kill,
    Start,
}

/// How to reach the lab from another terminal.
pub fn introduction(lab: &Lab) -> String {
    let mut text = String::new();
    for daemon in &lab.daemons {
        let _ = writeln!(
            text,
            "{}   {}   {}",
            daemon.name(),
            daemon.url(),
            daemon.data().display()
        );
    }
    for member in &lab.members {
        let _ = writeln!(text, "{}   {}", member.host.name(), member.endpoint());
    }
    let url = lab.daemons.first().map(super::HostDaemon::url);
    let _ = writeln!(
        text,
        "\nin another terminal:\n  export LOTE_URL={} LOTE_TOKEN={TOKEN}\n  lote node list\n\n{HELP}",
        url.unwrap_or_default()
    );
    text
}

/// Does what is typed until `quit`, or the end of the input.
pub fn run(lab: &mut Lab, input: impl BufRead) {
    for line in input.lines().map_while(Result::ok) {
        match parse(&line, lab.daemons.len(), lab.members.len()) {
            Ok(Line::Quit) => return,
            Ok(Line::Help) => println!("{HELP}"),
            Ok(line) => carry_out(lab, &line),
            Err(why) => println!("{why}"),
        }
    }
}

fn parse(line: &str, hosts: usize, members: usize) -> Result<Line, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |word: &str, of: usize| match word.parse::<usize>() {
        Ok(number) if (1..=of).contains(&number) => Ok(number - 1),
        _ => Err(format!("'{word}' is no number from 1 to {of}")),
    };
    let host = |verb, word| Ok(Line::Host(verb, number(word, hosts)?));
    let member = |verb, word| Ok(Line::Member(verb, number(word, members)?));
    match *words.as_slice() {
        [] => Ok(Line::Nothing),
        ["help"] => Ok(Line::Help),
        ["quit"] => Ok(Line::Quit),
        ["cut", n] => host(HostVerb::Cut, n),
        ["heal", n] => host(HostVerb::Heal, n),
        ["kill", n] => host(HostVerb::Kill, n),
        ["start", n] => host(HostVerb::Start, n),
        ["pause", n] => host(HostVerb::Pause, n),
        ["resume", n] => host(HostVerb::Resume, n),
        ["power-off", n] => host(HostVerb::PowerOff, n),
        ["log", n] => host(HostVerb::Log, n),
        ["delay", n, delay] => {
            let delay = delay
                .parse()
                .map_err(|_| format!("'{delay}' is no number"))?;
            Ok(Line::Delay(number(n, hosts)?, Duration::from_millis(delay)))
        }
        ["etcd", "cut", n] => member(MemberVerb::Cut, n),
        ["etcd", "heal", n] => member(MemberVerb::Heal, n),
        ["etcd", "kill", n] => member(MemberVerb::Kill, n),
        ["etcd", "start", n] => member(MemberVerb::Start, n),
        _ => Err(format!("what is '{}'?\n{HELP}", line.trim())),
    }
}

fn carry_out(lab: &mut Lab, line: &Line) {
    match *line {
        Line::Host(verb, index) => {
            let daemon = &mut lab.daemons[index];
            match verb {
                HostVerb::Cut => daemon.host.network().cut(),
                HostVerb::Heal => daemon.host.network().heal(),
                HostVerb::Kill => daemon.kill(),
                HostVerb::Start if daemon.is_running() => println!("it runs already"),
                HostVerb::Start => daemon.start(),
                HostVerb::Pause => daemon.pause(),
                HostVerb::Resume => daemon.resume(),
                HostVerb::PowerOff => daemon.power_off(),
                HostVerb::Log => {
                    let log = daemon.log();
                    let lines: Vec<&str> = log.lines().collect();
                    println!("{}", lines[lines.len().saturating_sub(20)..].join("\n"));
                }
            }
        }
        Line::Delay(index, delay) => {
            if let Err(why) = lab.daemons[index].host.network().delay(delay) {
                println!("{why}");
            }
        }
        Line::Member(verb, index) => {
            let member = &mut lab.members[index];
            match verb {
                MemberVerb::Cut => member.host.network().cut(),
                MemberVerb::Heal => member.host.network().heal(),
                MemberVerb::Kill => member.kill(),
                MemberVerb::Start if member.is_running() => println!("it runs already"),
                MemberVerb::Start => member.start(),
            }
        }
        Line::Nothing | Line::Help | Line::Quit => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_or_refused_with_a_reason() {
        let parse = |line| parse(line, 4, 3);
        assert_eq!(parse("cut 1"), Ok(Line::Host(HostVerb::Cut, 0)));
        assert_eq!(
            parse(" etcd  kill 3 "),
            Ok(Line::Member(MemberVerb::Kill, 2))
        );
        let delay = Line::Delay(1, Duration::from_millis(50));
        assert_eq!(parse("delay 2 50"), Ok(delay));
        assert_eq!(parse(""), Ok(Line::Nothing));
        assert!(parse("cut 5").unwrap_err().contains("1 to 4"));
        assert!(parse("etcd cut 4").unwrap_err().contains("1 to 3"));
        assert!(parse("burn 1").unwrap_err().contains("burn 1"));
    }
}
