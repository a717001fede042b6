//! The command `msgpipe`: calls servers of local IPC, shows what they do, and finds what is wrong.

mod args;
mod bench;
mod body;
mod call;
mod compat;
mod doctor;
mod exit;
mod foreign;
mod inspect;
mod interrupt;
mod list;
mod listen;
mod output;
mod pcap;
mod picture;
mod ping;
#[cfg(unix)]
mod places;
mod serve;
mod tap;
mod target;

use args::{Args, Command};
use clap::{CommandFactory, Parser};
use exit::Exit;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        // Who has read enough has closed the pipe.
        Err(exit) if output::is_closed(&exit) => ExitCode::SUCCESS,
        Err(exit) => {
            exit.print();
            exit.code()
        }
    }
}

fn run(args: &Args) -> Result<(), Exit> {
    let common = &args.common;
    match &args.command {
        Command::Ping(ping) => ping::run(common, ping),
        Command::Call(call) => call::run(common, call),
        Command::Listen(listen) => listen::run(common, listen),
        Command::Serve(serve) => serve::run(common, serve),
        Command::List(list) => list::run(common, list),
        Command::Inspect(inspect) => inspect::run(common, inspect),
        Command::Tap(tap) => tap::run(common, tap),
        Command::Bench(bench) => bench::run(common, bench),
        Command::Compat(compat) => compat::run(compat),
        Command::Doctor => doctor::run(common),
        Command::Completions { shell } => {
            let mut command = Args::command();
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut command, "msgpipe", &mut script);
            output::write(&script)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Args::command()).render(&mut page).map_err(Exit::Output)?;
            output::write(&page)
        }
    }
}
