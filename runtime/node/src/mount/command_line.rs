//! The commands that mount something, as words that no shell sees. Pure.

use std::net::Ipv6Addr;
use std::path::Path;

use lote_model::planned_mount::FileServerSource;

use super::options::NfsOptions;
use super::table::{Nfs, S3, Smb};
use crate::isolation::Identity;

/// How long the kernel's client waits for an answer before it asks again, in tenths of a second;
/// with `hard` it asks for ever, so that a server that restarts ends no job.
const RETRANSMIT_DECISECONDS: u32 = 600;

/// A file server of Lote by the kernel's client.
///
/// # Errors
///
/// A sentence if the server cannot be mounted so.
pub(super) fn file_server(
    source: &FileServerSource,
    options: &NfsOptions,
    target: &Path,
) -> Result<Vec<String>, String> {
    let point = &source.point;
    let version = options.version(&point.versions)?;
    let mut list = vec![
        format!("vers={version}"),
        "proto=tcp".to_owned(),
        format!("port={}", point.nfs_port),
    ];
    if version == "3" {
        let port = point
            .mount_port
            .ok_or("the file server names no port of its MOUNT service")?;
        // Its lock service is not there; locks are those of this node's processes.
        list.extend([
            format!("mountport={port}"),
            "mountproto=tcp".to_owned(),
            "nolock".to_owned(),
        ]);
    }
    list.push("hard".to_owned());
    list.push(format!("timeo={RETRANSMIT_DECISECONDS}"));
    list.extend(options.others.iter().cloned());
    list.extend(restrictions(options.read_only, options.no_exec));
    let export = directory_of(&point.path, source.directory.as_deref());
    Ok(nfs_words(&source.address, &export, &list.join(","), target))
}

/// What follows the program's name and its own arguments when Lote's client is the file system.
///
/// # Errors
///
/// A sentence if the server does not speak version 3, the only one that it knows.
pub(super) fn own_client(
    source: &FileServerSource,
    options: &NfsOptions,
    target: &Path,
) -> Result<Vec<String>, String> {
    let point = &source.point;
    let Some(mount_port) = point.mount_port else {
        return Err(
            "the file server does not speak version 3 of NFS, the only one that a node \
                    without an NFS client in its kernel can mount"
                .to_owned(),
        );
    };
    Ok(own_client_words(&OwnClient {
        server: &source.address,
        port: point.nfs_port,
        mount_port,
        export: &point.path,
        directory: source.directory.as_deref(),
        read_only: options.read_only,
        target,
    }))
}

/// What Lote's own client is told.
#[derive(Debug)]
pub(super) struct OwnClient<'a> {
    pub(super) server: &'a str,
    pub(super) port: u16,
    pub(super) mount_port: u16,
    pub(super) export: &'a str,
    pub(super) directory: Option<&'a str>,
    pub(super) read_only: bool,
    pub(super) target: &'a Path,
}

pub(super) fn own_client_words(client: &OwnClient<'_>) -> Vec<String> {
    let mut words = vec![
        "--server".to_owned(),
        client.server.to_owned(),
        "--port".to_owned(),
        client.port.to_string(),
        "--mount-port".to_owned(),
        client.mount_port.to_string(),
        "--export".to_owned(),
        client.export.to_owned(),
    ];
    let directory = client.directory.map(|path| path.trim_matches('/'));
    if let Some(directory) = directory.filter(|path| !path.is_empty()) {
        words.extend(["--directory".to_owned(), directory.to_owned()]);
    }
    if client.read_only {
        words.push("--read-only".to_owned());
    }
    words.push(client.target.to_string_lossy().into_owned());
    words
}

/// The user's command with the path behind it, for `bash`.
pub(super) fn users_command(command: &str, target: &Path) -> Vec<String> {
    let path = target.to_string_lossy().replace('\'', r"'\''");
    let line = format!("{command} '{path}'");
    ["bash", "-c", &line].map(str::to_owned).into()
}

/// An NFS server of the operator's table by the kernel's client.
pub(super) fn table_nfs(nfs: &Nfs, target: &Path) -> Vec<String> {
    let mut options = vec!["nosuid".to_owned(), "nodev".to_owned()];
    options.extend(nfs.options.clone());
    nfs_words(&nfs.server, &nfs.path, &options.join(","), target)
}

/// An SMB share of the operator's table. `credentials` is a file with user and password.
pub(super) fn table_smb(
    smb: &Smb,
    modes: (&str, &str),
    credentials: &Path,
    identity: Identity,
    target: &Path,
) -> Vec<String> {
    let (file_mode, directory_mode) = modes;
    let mut options = vec![
        format!("credentials={}", credentials.display()),
        format!("uid={},gid={}", identity.uid, identity.gid),
        format!("forceuid,forcegid,file_mode={file_mode},dir_mode={directory_mode}"),
        "nosuid,nodev".to_owned(),
    ];
    options.extend(smb.options.clone());
    let share = format!("//{}/{}", smb.server, smb.share.trim_matches('/'));
    let target = target.to_string_lossy();
    [
        "mount",
        "-t",
        "cifs",
        "-o",
        &options.join(","),
        &share,
        &target,
    ]
    .map(str::to_owned)
    .into()
}

/// A bucket of the operator's table, by `s3fs`.
pub(super) fn table_s3(s3: &S3, identity: Identity, target: &Path) -> Vec<String> {
    let mut options = vec![
        format!("url={}", s3.endpoint),
        "use_path_request_style,allow_other".to_owned(),
        format!("uid={},gid={},umask=0077", identity.uid, identity.gid),
    ];
    let file = s3.credentials.as_ref();
    options.extend(file.map(|file| format!("passwd_file={}", file.display())));
    options.extend(s3.options.clone());
    let target = target.to_string_lossy();
    ["s3fs", &s3.bucket, &target, "-o", &options.join(",")]
        .map(str::to_owned)
        .into()
}

fn nfs_words(server: &str, path: &str, options: &str, target: &Path) -> Vec<String> {
    let host = match server.parse::<Ipv6Addr>() {
        Ok(ip) => format!("[{ip}]"),
        Err(_) => server.to_owned(),
    };
    let (source, target) = (format!("{host}:{path}"), target.to_string_lossy());
    ["mount", "-t", "nfs", "-o", options, &source, &target]
        .map(str::to_owned)
        .into()
}

fn restrictions(read_only: bool, no_exec: bool) -> Vec<String> {
    let mut list = vec![if read_only { "ro" } else { "rw" }, "nosuid", "nodev"];
    list.extend(no_exec.then_some("noexec"));
    list.into_iter().map(str::to_owned).collect()
}

/// A directory of an export, as its clients name it.
pub(super) fn directory_of(export: &str, directory: Option<&str>) -> String {
    let directory = directory.unwrap_or_default().trim_matches('/');
    let export = export.trim_end_matches('/');
    match (export, directory) {
        ("", "") => "/".to_owned(),
        (export, "") => export.to_owned(),
        (export, directory) => format!("{export}/{directory}"),
    }
}

/// A command as people read it, for messages.
pub(super) fn shown(words: &[String]) -> String {
    let quoted = shlex::try_join(words.iter().map(String::as_str));
    quoted.unwrap_or_else(|_| words.join(" "))
}

#[cfg(test)]
pub(super) mod tests {
    use lote_model::export::{ExportPoint, NfsServer, SizeLimit};
    use lote_model::id::{FileServerUid, NodeName};

    use super::*;

    pub(in crate::mount) fn source() -> FileServerSource {
        FileServerSource {
            name: "data".into(),
            uid: FileServerUid::new("f1"),
            node: NodeName::new("n9"),
            address: "10.0.0.9".into(),
            point: ExportPoint {
                server: NfsServer::Ganesha,
                path: "/srv/lote/f1".into(),
                nfs_port: 20049,
                mount_port: Some(20048),
                versions: ["4.2", "4.1", "3"].map(str::to_owned).into(),
                size_limit: SizeLimit {
                    in_force: false,
                    note: String::new(),
                },
            },
            directory: None,
            options: None,
        }
    }

    const USER: Identity = Identity { uid: 7, gid: 8 };

    fn target() -> &'static Path {
        Path::new("/d/mounts/u.1/job/a b")
    }

    fn kernel(source: &FileServerSource) -> Result<String, String> {
        let options = NfsOptions::parse(source.options.as_deref())?;
        file_server(source, &options, target()).map(|words| shown(&words))
    }

    #[test]
    fn the_kernel_is_told_the_newest_version_and_the_ports() {
        let mut source = source();
        assert_eq!(
            kernel(&source).unwrap(),
            "mount -t nfs -o 'vers=4.2,proto=tcp,port=20049,hard,timeo=600,rw,nosuid,nodev' \
             10.0.0.9:/srv/lote/f1 '/d/mounts/u.1/job/a b'"
        );
        source.address = "fd00::9".into();
        source.directory = Some("/sets/".into());
        source.options = Some("ro,vers=3,noexec,nconnect=4".into());
        assert_eq!(
            kernel(&source).unwrap(),
            "mount -t nfs -o 'vers=3,proto=tcp,port=20049,mountport=20048,mountproto=tcp,nolock,\
             hard,timeo=600,nconnect=4,ro,nosuid,nodev,noexec' \
             '[fd00::9]:/srv/lote/f1/sets' '/d/mounts/u.1/job/a b'"
        );
    }

    #[test]
    fn lotes_own_client_needs_version_3() {
        let mut source = source();
        source.directory = Some("sets".into());
        let options = NfsOptions::parse(Some("ro")).unwrap();
        let words = own_client(&source, &options, target()).unwrap();
        assert_eq!(
            shown(&words),
            "--server 10.0.0.9 --port 20049 --mount-port 20048 --export /srv/lote/f1 \
             --directory sets --read-only '/d/mounts/u.1/job/a b'"
        );
        source.point.mount_port = None;
        let error = own_client(&source, &options, target()).unwrap_err();
        assert!(error.contains("version 3"), "{error}");
    }

    #[test]
    fn the_path_stands_behind_the_users_command() {
        let words = users_command("mount -t glusterfs h:/v", Path::new("/m/it's"));
        assert_eq!(
            words,
            ["bash", "-c", r"mount -t glusterfs h:/v '/m/it'\''s'"]
        );
    }

    #[test]
    fn shares_and_buckets_belong_to_the_jobs_user() {
        let smb = Smb {
            server: "files".into(),
            share: "logs".into(),
            credentials: super::super::table::Credentials::Job,
            options: Some("vers=3.1.1".into()),
        };
        let words = table_smb(
            &smb,
            ("0660", "0770"),
            Path::new("/k"),
            USER,
            Path::new("/m"),
        );
        assert_eq!(
            words[4],
            "credentials=/k,uid=7,gid=8,forceuid,forcegid,file_mode=0660,dir_mode=0770,nosuid,\
             nodev,vers=3.1.1"
        );
        assert_eq!(words[5..], ["//files/logs", "/m"]);
        let s3 = S3 {
            endpoint: "https://s3.example".into(),
            bucket: "b".into(),
            credentials: None,
            options: None,
            command: None,
        };
        assert_eq!(
            table_s3(&s3, USER, Path::new("/m")).join(" "),
            "s3fs b /m -o url=https://s3.example,use_path_request_style,allow_other,uid=7,gid=8,\
             umask=0077"
        );
    }
}
