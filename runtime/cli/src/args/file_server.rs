//! `lote file-server`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::resources::DeleteArgs;

/// `lote file-server`.
#[derive(Debug, Subcommand)]
pub enum FileServerCommand {
    /// Create a file server
    Create(Box<CreateFileServerArgs>),
    /// List the file servers of the workspace
    List,
    /// Show a file server
    Show {
        /// Its name
        name: String,
    },
    /// Delete a file server, once no job mounts it; its files stay on its node
    Delete(DeleteFileServerArgs),
    /// List a directory of a file server
    Ls {
        /// The file server
        name: String,
        /// The directory
        #[arg(default_value = "/")]
        path: String,
        /// Also sizes, times and permissions
        #[arg(short, long)]
        long: bool,
    },
    /// Send files and directories; goes on with what was broken off
    Put {
        /// The file server
        name: String,
        /// What to send, and last where to; to the top if it is one path
        #[arg(value_name = "LOCAL... REMOTE", required = true)]
        paths: Vec<PathBuf>,
        /// How
        #[command(flatten)]
        how: TransferArgs,
    },
    /// Fetch files and directories; goes on with what was broken off
    Get {
        /// The file server
        name: String,
        /// What to fetch, and last where to; to here if it is one path
        #[arg(value_name = "REMOTE... LOCAL", required = true)]
        paths: Vec<PathBuf>,
        /// How
        #[command(flatten)]
        how: TransferArgs,
    },
    /// Remove a file or a directory from a file server
    Rm {
        /// The file server
        name: String,
        /// What to remove
        path: String,
        /// A directory with all that is in it
        #[arg(short, long)]
        recursive: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// How files are sent and fetched.
#[derive(Clone, Copy, Debug, Args)]
pub struct TransferArgs {
    /// Taken for granted; here for those who are used to it
    #[arg(short, long)]
    pub recursive: bool,
    /// How many requests at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub parallel: u8,
    /// Replace what is there already and differs
    #[arg(long)]
    pub overwrite: bool,
}

/// `lote file-server delete`.
#[derive(Debug, Args)]
pub struct DeleteFileServerArgs {
    /// What and how
    #[command(flatten)]
    pub delete: DeleteArgs,
    /// Erase its files as well
    #[arg(long)]
    pub erase_data: bool,
}

/// `lote file-server create`.
#[derive(Debug, Default, Args)]
pub struct CreateFileServerArgs {
    /// Its name
    pub name: String,
    /// A file with the body of the API; options win over it
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The size label of its node (see `lote node list`)
    #[arg(short, long, required_unless_present = "file")]
    pub size: Option<String>,
    /// How many disks; several are striped
    #[arg(long, value_name = "N", required_unless_present = "file")]
    pub disk_count: Option<u32>,
    /// The size of each disk in GB
    #[arg(long, value_name = "GB", required_unless_present = "file")]
    pub disk_size: Option<u32>,
    /// The kind of storage behind the disks [default: `Standard_LRS`]
    #[arg(long, value_enum)]
    pub storage_sku: Option<StorageSku>,
    /// How the disks are cached [default: none]
    #[arg(long, value_enum)]
    pub caching_type: Option<Caching>,
    /// The administrator's name that is recorded [default: yours]
    #[arg(short, long, value_name = "NAME")]
    pub user: Option<String>,
    /// A file with the administrator's public key
    #[arg(short = 'k', long, value_name = "FILE")]
    pub ssh_key: Option<PathBuf>,
    /// Who may reach its SSH server: an address, a range such as 10.0.0.0/8, or * [default: *]
    #[arg(long = "allow", value_name = "RANGE")]
    pub allow: Vec<String>,
    /// The id of a subnet that is recorded
    #[arg(long, value_name = "ID")]
    pub subnet: Option<String>,
    /// The node that is to serve it [default: the one of the size with the fewest file servers]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// A directory on that node, one that its operator set aside or below one
    #[arg(long, value_name = "PATH", conflicts_with = "disk")]
    pub directory: Option<String>,
    /// A disk of that node that its operator listed, such as /dev/sdb; several are striped
    #[arg(long, value_name = "DEVICE")]
    pub disk: Vec<String>,
    /// Whether a file system that is on one of the disks may be erased
    #[arg(long, requires = "disk", conflicts_with = "directory")]
    pub erase_disks: bool,
}

/// `--storage-sku`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StorageSku {
    /// Ordinary disks
    #[value(name = "Standard_LRS")]
    Standard,
    /// Fast disks
    #[value(name = "Premium_LRS")]
    Premium,
}

/// `--caching-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Caching {
    /// Not at all
    None,
    /// Reads only
    #[value(name = "readonly")]
    ReadOnly,
    /// Reads and writes
    #[value(name = "readwrite")]
    ReadWrite,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(line: &str) -> Result<CreateFileServerArgs, clap::Error> {
        use clap::FromArgMatches as _;
        let command = CreateFileServerArgs::augment_args(clap::Command::new("create"));
        let matches = command.try_get_matches_from(line.split(' '))?;
        CreateFileServerArgs::from_arg_matches(&matches)
    }

    #[test]
    fn size_and_disks_come_from_options_or_from_a_file() {
        let error = create("create nfs --size cpu").unwrap_err();
        assert!(error.to_string().contains("--disk-count"), "{error}");
        assert!(create("create nfs -f server.json").is_ok());
        let line = "create nfs -s cpu --disk-count 2 --disk-size 9 --storage-sku Premium_LRS --caching-type readonly";
        let args = create(line).unwrap();
        assert_eq!(args.storage_sku, Some(StorageSku::Premium));
        assert_eq!(args.caching_type, Some(Caching::ReadOnly));
    }

    #[test]
    fn it_lies_in_a_directory_or_on_disks() {
        let args = create("create nfs -f s.json --disk /dev/sdb --disk /dev/sdc --erase-disks");
        assert_eq!(args.unwrap().disk, ["/dev/sdb", "/dev/sdc"]);
        for line in [
            "create nfs -f s.json --directory /srv --disk /dev/sdb",
            "create nfs -f s.json --directory /srv --erase-disks",
        ] {
            assert!(create(line).is_err(), "{line}");
        }
    }
}
