//! `lote file-server`.

use std::path::Path;

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::job_input::read_file;
use super::{Context, Outcome, server_files};
use crate::answer::{self, FileServer};
use crate::args::file_server::{CreateFileServerArgs, DeleteFileServerArgs, FileServerCommand};
use crate::failure::Failure;
use crate::http::Done;
use crate::{exit, place, show};

/// The collection's name in paths.
const FILE_SERVERS: &str = "fileservers";

pub(super) fn run(context: &Context<'_>, command: FileServerCommand) -> Outcome {
    match command {
        FileServerCommand::Create(args) => create(context, &args),
        FileServerCommand::List => {
            let action = "list file servers";
            let path = place::collection(&context.settings.workspace, FILE_SERVERS);
            let values = context.client.list(action, &path)?;
            context.print_list(action, values, show::file_server_table)
        }
        FileServerCommand::Show { name } => {
            let action = format!("show file server '{name}'");
            let path = place::child(&context.child(&name)?, FILE_SERVERS);
            let value = context.client.get(&action, &path)?;
            context.print(&action, &value, show::file_server_details)
        }
        FileServerCommand::Delete(args) => delete(context, &args),
        FileServerCommand::Ls { name, path, long } => {
            server_files::list(context, &name, &path, long)
        }
        FileServerCommand::Put { name, paths, how } => {
            server_files::put(context, &name, paths, how)
        }
        FileServerCommand::Get { name, paths, how } => {
            server_files::get(context, &name, paths, how)
        }
        FileServerCommand::Rm {
            name,
            path,
            recursive,
            yes,
        } => {
            if recursive {
                context.confirm(&format!("remove '{path}' with all that is in it"), yes)?;
            }
            server_files::remove(context, &name, &path, recursive)
        }
    }
}

/// Says before it asks what becomes of the files, and while it waits what keeps it.
fn delete(context: &Context<'_>, args: &DeleteFileServerArgs) -> Outcome {
    let DeleteFileServerArgs { delete, erase_data } = args;
    let path = place::child(&context.child(&delete.name)?, FILE_SERVERS);
    let what = format!("file server '{}'", delete.name);
    let question = if *erase_data {
        format!("delete {what} and erase all its files")
    } else {
        format!("delete {what} (its files stay on its node)")
    };
    context.confirm(&question, delete.yes)?;
    let action = format!("delete {what}");
    let query = if *erase_data { "?erasedata=true" } else { "" };
    match context.client.delete(&action, &format!("{path}{query}"))? {
        None => context.say(&format!("{what} was not there")),
        Some(Done::Later(_)) if delete.no_wait => {
            context.say(&format!("{what} is being deleted"));
        }
        Some(done) => {
            if let Done::Later(operation) = &done {
                wait(context, &action, operation, &path)?;
            }
            context.say(&format!("deleted {what}"));
        }
    }
    Ok(exit::SUCCESS)
}

/// Waits for an operation on the file server at a path, and says what that waits for itself.
fn wait(context: &Context<'_>, action: &str, operation: &str, path: &str) -> Result<(), Failure> {
    let mut told = None;
    context.client.wait_telling(action, operation, || {
        let server = context.client.get(action, path).ok();
        let server = server.and_then(|value| answer::read::<FileServer>(&value).ok());
        let error = server.and_then(|it| it.properties.lote.errors.into_iter().next());
        let message = error.map(|error| error.message);
        if let Some(message) = message.as_ref().filter(|_| message != told) {
            context.say(message);
        }
        told = message;
    })
}

fn create(context: &Context<'_>, args: &CreateFileServerArgs) -> Outcome {
    let members = match &args.file {
        Some(file) => read_file(file)?,
        None => Map::new(),
    };
    let user = context.surroundings.variable("USER").unwrap_or("lote");
    let key = args.ssh_key.as_deref().map(read_key).transpose()?;
    let body = body(members, args, user, key.as_deref());
    let path = place::child(&context.child(&args.name)?, FILE_SERVERS);
    let action = format!("create file server '{}'", args.name);
    let value = match context.client.put(&action, &path, Some(&body))? {
        Done::Now(value) => value,
        Done::Later(operation) => {
            wait(context, &action, &operation, &path)?;
            context.client.get(&action, &path)?
        }
    };
    context.print(&action, &value, show::file_server_details)
}

fn read_key(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|source| Failure::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    Ok(text.trim().to_owned())
}

/// The file's body with the options written over it. The API insists on an
/// administrator's name; the user's own is given when nobody named one.
fn body(
    mut members: Map<String, Value>,
    args: &CreateFileServerArgs,
    user: &str,
    key: Option<&str>,
) -> Value {
    members.retain(|name, _| name == "properties");
    let mut body = Value::Object(members);
    let properties = &mut body["properties"];
    if let Some(size) = &args.size {
        properties["vmSize"] = size.as_str().into();
    }
    if let Some(subnet) = &args.subnet {
        properties["subnet"] = json!({ "id": subnet });
    }
    write_disks(&mut properties["dataDisks"], args);
    let ssh = &mut properties["sshConfiguration"];
    if !args.allow.is_empty() {
        ssh["publicIPsToAllow"] = json!(args.allow);
    }
    let account = &mut ssh["userAccountSettings"];
    if args.user.is_some() || account["adminUserName"].is_null() {
        account["adminUserName"] = args.user.as_deref().unwrap_or(user).into();
    }
    if let Some(key) = key {
        account["adminUserSshPublicKey"] = key.into();
    }
    write_place(properties, args);
    body
}

/// Where its files are to lie.
fn write_place(properties: &mut Value, args: &CreateFileServerArgs) {
    if let Some(node) = &args.node {
        properties["lote"]["node"] = node.as_str().into();
    }
    if let Some(directory) = &args.directory {
        properties["lote"]["directory"] = directory.as_str().into();
    }
    if !args.disk.is_empty() {
        properties["lote"]["disks"] = json!(args.disk);
    }
    if args.erase_disks {
        properties["lote"]["eraseDisks"] = true.into();
    }
}

fn write_disks(disks: &mut Value, args: &CreateFileServerArgs) {
    if let Some(count) = args.disk_count {
        disks["diskCount"] = count.into();
    }
    if let Some(size) = args.disk_size {
        disks["diskSizeInGB"] = size.into();
    }
    if let Some(sku) = args
        .storage_sku
        .as_ref()
        .and_then(ValueEnum::to_possible_value)
    {
        disks["storageAccountType"] = sku.get_name().into();
    } else if disks["storageAccountType"].is_null() {
        disks["storageAccountType"] = "Standard_LRS".into();
    }
    if let Some(caching) = args
        .caching_type
        .as_ref()
        .and_then(ValueEnum::to_possible_value)
    {
        disks["cachingType"] = caching.get_name().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::file_server::{Caching, StorageSku};
    use lote_model::file_server::{CachingType, FileServerProperties, StorageAccountType};

    #[test]
    fn the_daemon_accepts_what_options_make() {
        let args = CreateFileServerArgs {
            size: Some("cpu".into()),
            disk_count: Some(2),
            disk_size: Some(100),
            storage_sku: Some(StorageSku::Premium),
            caching_type: Some(Caching::ReadOnly),
            allow: vec!["10.0.0.0/8".into()],
            node: Some("NAS".into()),
            disk: vec!["/dev/sdb".into(), "/dev/sdc".into()],
            erase_disks: true,
            ..CreateFileServerArgs::default()
        };
        let body = body(Map::new(), &args, "me", Some("ssh-rsa AAAA"));
        let properties = FileServerProperties::parse(body.to_string().as_bytes()).unwrap();
        assert_eq!(properties.data_disks.disk_count, 2);
        assert_eq!(
            properties.data_disks.storage_account_type,
            StorageAccountType::Premium
        );
        assert_eq!(properties.data_disks.caching_type, CachingType::ReadOnly);
        let lote = properties.lote;
        assert_eq!(lote.node.unwrap().as_str(), "nas");
        assert_eq!(lote.disks, ["/dev/sdb", "/dev/sdc"]);
        assert!(lote.erase_disks);
        let ssh = properties.ssh_configuration;
        assert_eq!(ssh.public_ips_to_allow, ["10.0.0.0/8"]);
        assert_eq!(ssh.user_account_settings.admin_user_name, "me");
    }

    #[test]
    fn options_win_over_the_file() {
        let file = json!({"id": "x", "properties": {
            "vmSize": "a", "dataDisks": {"diskCount": 1, "diskSizeInGB": 5, "storageAccountType": "Premium_LRS"},
            "sshConfiguration": {"userAccountSettings": {"adminUserName": "ops"}}}});
        let Value::Object(members) = file else {
            panic!("no object")
        };
        let args = CreateFileServerArgs {
            disk_count: Some(4),
            ..CreateFileServerArgs::default()
        };
        assert_eq!(
            body(members, &args, "me", None),
            json!({"properties": {
                "vmSize": "a", "dataDisks": {"diskCount": 4, "diskSizeInGB": 5, "storageAccountType": "Premium_LRS"},
                "sshConfiguration": {"userAccountSettings": {"adminUserName": "ops"}}}})
        );
    }
}
