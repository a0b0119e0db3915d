//! `lote plugin check`.

use std::process::ExitCode;

use lote_cli::args::plugin::PluginCheckArgs;
use lote_cli::output::{Colour, Style};
use lote_plugin_host::{Checked, Outcome, digest};
use serde_json::json;

use super::{Error, Terminal, host, read_component, verdict};

/// Goes through the checks of a load.
pub(super) fn run(terminal: &Terminal, args: &PluginCheckArgs) -> Result<ExitCode, Error> {
    let bytes = read_component(&args.file)?;
    let origin = args.file.display().to_string();
    let examination = host()?.examine(&origin, &bytes);
    let digest = digest(&bytes);
    let is_well = examination.plugin.is_ok();
    let value = json!({
        "file": origin,
        "digest": digest,
        "passed": is_well,
        "checks": examination.checks,
    });
    let style = terminal.console.style_out();
    terminal.print(&value, || text(&examination.checks, &digest, style));
    Ok(verdict(is_well))
}

/// A line for each check.
pub(super) fn text(checks: &[Checked], digest: &str, style: Style) -> String {
    let line = |checked: &Checked| {
        let (word, colour) = match checked.outcome {
            Outcome::Passed => ("ok", Colour::Green),
            Outcome::Failed => ("failed", Colour::Red),
            Outcome::NotReached => ("not reached", Colour::Dim),
        };
        let line = format!(
            "{:<9}  {}  {}",
            checked.step.name(),
            style.paint(colour, &format!("{word:<11}")),
            checked.finding
        );
        line.trim_end().to_owned() + "\n"
    };
    let lines: String = checks.iter().map(line).collect();
    format!("{lines}sha256     {digest}\n")
}
