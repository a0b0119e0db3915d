//! `lote token`.

use lote_model::access::Scope;
use lote_model::access::token::{TokenId, TokenText};
use lote_model::duration::Seconds;
use lote_model::problem::Problem;
use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::answer::Token;
use crate::args::Format;
use crate::args::token::{CreateTokenArgs, TokenCommand};
use crate::exit;
use crate::failure::Failure;
use crate::http::Done;
use crate::show;

const TOKENS: &str = "/v1/tokens";

pub(super) fn run(context: &Context<'_>, command: TokenCommand) -> Outcome {
    match command {
        TokenCommand::Create(args) => create(context, &args),
        TokenCommand::List => {
            let action = "list tokens";
            let values = context.client.list(action, TOKENS)?;
            context.print_list(action, values, show::token_table)
        }
        TokenCommand::Revoke { id, yes } => revoke(context, &id, yes),
    }
}

/// The token goes to standard output, alone, so that scripts can take it; what
/// there is to know about it goes to standard error.
fn create(context: &Context<'_>, args: &CreateTokenArgs) -> Outcome {
    let action = "make a token";
    let done = context
        .client
        .post(action, TOKENS, Some(&body(context, args)))?;
    let value = context.client.finish(action, done)?;
    if context.settings.format != Format::Table {
        return context.print(action, &value, |_: &Token, _| String::new());
    }
    let token: Token = context.client.understood(action, &value)?;
    context.say(&show::new_token(&token, context.console.style_err()));
    if token.properties.created_by == "open" {
        context.say(&format!(
            "This is the first token: from now on the daemon at {} answers nobody without one.\n\
             Set LOTE_TOKEN, or `token` in ~/.config/lote/config.toml.",
            context.client.url()
        ));
    }
    if args.node {
        context.say(&show::how_to_join(context.client.url()));
    }
    let text = token.properties.token.unwrap_or_default();
    context.console.out(format!("{text}\n").as_bytes());
    Ok(exit::SUCCESS)
}

fn body(context: &Context<'_>, args: &CreateTokenArgs) -> Value {
    let mut properties = json!({"role": args.role()});
    if let Some(name) = &args.name {
        properties["displayName"] = json!(name);
    }
    if let Some(life) = args.expires_in {
        properties["expiresIn"] = json!(Seconds(life.as_secs()));
    }
    if let Some(uses) = args.uses {
        properties["uses"] = json!(uses);
    }
    match &context.settings.named_scope {
        // Machines belong to the whole installation, whatever this shell is set to.
        _ if args.node => {}
        Scope::Everything => {}
        Scope::Group(group) => properties["scope"] = json!({"group": group}),
        Scope::Workspace(path) => {
            properties["scope"] = json!({"group": path.group, "workspace": path.workspace});
        }
    }
    json!({"properties": properties})
}

fn revoke(context: &Context<'_>, text: &str, yes: bool) -> Outcome {
    let id = id_of(text)?;
    let action = format!("revoke token {id}");
    context.confirm(&action, yes)?;
    match context.client.delete(&action, &format!("{TOKENS}/{id}"))? {
        None => context.say(&format!("token {id} was not there")),
        Some(Done::Now(_) | Done::Later(_)) => context.say(&format!("revoked token {id}")),
    }
    Ok(exit::SUCCESS)
}

/// Of a token that has leaked, its owner often has nothing but the text.
fn id_of(text: &str) -> Result<TokenId, Failure> {
    let of_token = TokenText::parse(text).and_then(|token| token.id());
    let id = of_token.or_else(|| TokenId::parse(text));
    id.ok_or_else(|| {
        let message = "that is no id of a token; see `lote token list`";
        Problem::new("InvalidTokenId", message).into()
    })
}
