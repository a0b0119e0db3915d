//! What a job's user can see and do.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use lote_node::isolation::{BindMount, FsIdentity, MountPlan, PrivateDirectory, PrivateSource};
use lote_node::launch::{DirectorySpec, ExitCause, ProcessSpec, SetupStep, tail};

use crate::support::{Place, Test, in_place, new_user, root_test};

pub const TESTS: &[Test] = &[
    root_test("isolation::no_privileges", no_privileges),
    root_test("isolation::set_user_id_programs_gain_nothing", set_user_id),
    root_test("isolation::user_zero_is_refused", user_zero),
    root_test("isolation::other_users_files_are_closed", other_users_files),
    root_test(
        "isolation::files_belong_to_the_user",
        files_belong_to_the_user,
    ),
    root_test(
        "isolation::root_writes_nothing_for_the_user",
        root_writes_nothing,
    ),
    root_test("isolation::private_tmp", private_tmp),
    root_test("isolation::private_tmp_in_memory", private_tmp_in_memory),
    root_test("isolation::hidden_paths", hidden_paths),
    root_test(
        "isolation::kept_directory_below_hidden_one",
        kept_below_hidden,
    ),
    root_test("isolation::planted_link_misleads_nobody", planted_link),
    root_test("isolation::binds_and_read_only", binds_and_read_only),
    root_test("isolation::mounts_do_not_leak", mounts_do_not_leak),
    root_test("isolation::missing_mount_source", missing_source),
    root_test("isolation::file_access_with_the_users_rights", fs_identity),
];

/// The usual plan: a private `/tmp`, with the test's directory (below `/tmp`)
/// still in its place.
fn private(place: &Place, source: PrivateSource) -> MountPlan {
    MountPlan {
        private: vec![PrivateDirectory {
            target: "/tmp".into(),
            source,
        }],
        keep: vec![place.directory.path().into()],
        ..MountPlan::default()
    }
}

fn memory() -> PrivateSource {
    PrivateSource::Memory {
        size_bytes: 1 << 20,
    }
}

fn no_privileges() {
    in_place(async |place| {
        let script = "grep -E '^(Uid|Gid|Groups|NoNewPrivs|Cap)' /proc/self/status";
        let spec = place.user_shell(script);
        let id = spec.identity.unwrap().uid;
        let none = "0000000000000000";
        let expected = format!(
            "Uid:\t{id}\t{id}\t{id}\t{id}\nGid:\t{id}\t{id}\t{id}\t{id}\nGroups:\t \n\
             CapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\nCapBnd:\t{none}\nCapAmb:\t{none}\n\
             NoNewPrivs:\t1\n"
        );
        assert_eq!(place.output(&spec).await, expected);
    });
}

fn set_user_id() {
    in_place(async |place| {
        let program = place.path("id");
        std::fs::copy("/usr/bin/id", &program).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o4755)).unwrap();
        let spec = place.user_shell(&format!("{} -u", program.display()));
        let uid = spec.identity.unwrap().uid;
        assert_eq!(place.output(&spec).await, format!("{uid}\n"));
    });
}

fn user_zero() {
    in_place(async |place| {
        let mut spec = place.user_shell("id");
        spec.identity.as_mut().unwrap().gid = 0;
        let ExitCause::SetupFailed(failure) = place.run(&spec).await.cause else {
            panic!("started")
        };
        assert_eq!(failure.step, SetupStep::DropPrivileges);
    });
}

fn other_users_files() {
    in_place(async |place| {
        let other = place.owned("other", new_user());
        std::fs::write(other.join("secret"), "hunter2").unwrap();
        let spec = place.user_shell(&format!("cat {0}/secret; ls {0}; exit 0", other.display()));
        assert_eq!(place.output(&spec).await, "");
        let errors = std::fs::read_to_string(&spec.stderr).unwrap();
        assert_eq!(errors.matches("Permission denied").count(), 2, "{errors}");
    });
}

fn files_belong_to_the_user() {
    in_place(async |place| {
        let mut spec =
            place.user_shell("stat -c %u stdout log made made/deep; stat -c %a made/deep");
        let home = spec.working_directory.clone();
        spec.execution_log = Some(home.join("log"));
        spec.directories = vec![DirectorySpec {
            path: home.join("made/deep"),
            mode: 0o700,
        }];
        let uid = spec.identity.unwrap().uid;
        assert_eq!(
            place.output(&spec).await,
            format!("{uid}\n{uid}\n{uid}\n{uid}\n700\n")
        );
    });
}

/// A user who replaces the output files by links does not make root write.
fn root_writes_nothing() {
    in_place(async |place| {
        let victim = place.path("victim");
        std::fs::write(&victim, "precious").unwrap();
        let mut spec = place.user_shell("exit 0");
        let log = spec.working_directory.join("log");
        symlink(&victim, &log).unwrap();
        symlink(&victim, &spec.stdout).unwrap();
        spec.execution_log = Some(log);
        let ExitCause::SetupFailed(failure) = place.run(&spec).await.cause else {
            panic!("started")
        };
        assert_eq!(failure.step, SetupStep::OpenOutput);
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    });
}

fn private_tmp() {
    in_place(async |place| {
        let mut spec =
            place.user_shell("ls -A /tmp; echo mine > /tmp/file; pwd; cat home/none 2>&1; ls");
        let tmp = place.owned("tmp", spec.identity.unwrap());
        spec.mounts = Some(private(&place, PrivateSource::Directory(tmp.clone())));
        let name = place
            .directory
            .path()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap();
        let output = place.output(&spec).await;
        let home = spec.working_directory.display().to_string();
        let expected =
            format!("{name}\n{home}\ncat: home/none: No such file or directory\nstderr\nstdout\n");
        assert_eq!(output, expected);
        assert_eq!(std::fs::read_to_string(tmp.join("file")).unwrap(), "mine\n");
        assert!(!Path::new("/tmp/file").exists());
    });
}

fn private_tmp_in_memory() {
    in_place(async |place| {
        let mut spec = place.user_shell("touch /tmp/file && stat -f -c %T /tmp && pwd");
        spec.mounts = Some(private(&place, memory()));
        let home = spec.working_directory.display().to_string();
        assert_eq!(place.output(&spec).await, format!("tmpfs\n{home}\n"));
    });
}

fn hidden_paths() {
    in_place(async |place| {
        let hidden = place.path("hidden");
        std::fs::create_dir(&hidden).unwrap();
        // Readable by all, so only the hiding protects it.
        std::fs::set_permissions(&hidden, PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(hidden.join("secret"), "hunter2").unwrap();
        let file = place.path("file");
        std::fs::write(&file, "hunter2").unwrap();
        let mut spec = place.user_shell(&format!(
            "cat {0}/secret; ls {0}; cat {1}; exit 0",
            hidden.display(),
            file.display()
        ));
        let missing = place.path("missing");
        spec.mounts = Some(MountPlan {
            hidden: vec![hidden, file, missing],
            ..MountPlan::default()
        });
        assert_eq!(place.output(&spec).await, "");
        let errors = std::fs::read_to_string(&spec.stderr).unwrap();
        assert_eq!(errors.matches("Permission denied").count(), 2, "{errors}");
    });
}

fn kept_below_hidden() {
    in_place(async |place| {
        let mut spec = place.user_shell("pwd; cat ../../secret 2>/dev/null; ls .. 2>&1 >/dev/null");
        std::fs::write(place.path("secret"), "hunter2").unwrap();
        let home = spec.working_directory.clone();
        let hidden = vec![place.directory.path().into()];
        spec.mounts = Some(MountPlan {
            hidden,
            keep: vec![home.clone()],
            ..MountPlan::default()
        });
        let exit = place.run(&spec).await;
        assert_eq!(exit.cause, ExitCause::Exited(2));
        let output = std::fs::read_to_string(home.join("stdout")).unwrap();
        let first = output.lines().next().unwrap();
        assert_eq!(first, home.to_str().unwrap());
        assert!(
            !output.contains("hunter2") && output.contains("Permission denied"),
            "{output}"
        );
    });
}

/// The private directory belongs to the job, which may have left a link where a
/// kept directory is to be attached.
fn planted_link() {
    in_place(async |place| {
        let mut spec = place.user_shell("exit 0");
        let tmp = place.owned("tmp", spec.identity.unwrap());
        let name = place.directory.path().file_name().unwrap();
        symlink("/etc", tmp.join(name)).unwrap();
        spec.mounts = Some(private(&place, PrivateSource::Directory(tmp)));
        let ExitCause::SetupFailed(failure) = place.run(&spec).await.cause else {
            panic!("started")
        };
        assert_eq!(failure.step, SetupStep::Mount);
    });
}

fn binds_and_read_only() {
    in_place(async |place| {
        let passwd = place.path("passwd");
        let mut spec =
            place.user_shell("id -un; echo x >> /etc/passwd; touch frozen/x; ls frozen; exit 0");
        let id = spec.identity.unwrap().uid;
        std::fs::write(&passwd, format!("job:x:{id}:{id}::/:/bin/sh\n")).unwrap();
        let frozen = spec.working_directory.join("frozen");
        spec.directories = Vec::new();
        std::fs::create_dir(&frozen).unwrap();
        std::fs::set_permissions(&frozen, PermissionsExt::from_mode(0o777)).unwrap();
        spec.mounts = Some(MountPlan {
            binds: vec![BindMount {
                source: passwd,
                target: "/etc/passwd".into(),
                read_only: true,
            }],
            read_only: vec![frozen],
            ..MountPlan::default()
        });
        assert_eq!(place.output(&spec).await, "job\n");
        let errors = std::fs::read_to_string(&spec.stderr).unwrap();
        assert!(errors.contains("Read-only file system"), "{errors}");
    });
}

fn mounts_do_not_leak() {
    in_place(async |place| {
        let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let before = mounts();
        let mut spec = place.user_shell("exit 0");
        spec.mounts = Some(private(&place, memory()));
        place.run(&spec).await;
        assert_eq!(mounts(), before);
    });
}

fn missing_source() {
    in_place(async |place| {
        let source = place.path("missing");
        let binds = vec![BindMount {
            source: source.clone(),
            target: "/mnt".into(),
            read_only: false,
        }];
        let mounts = Some(MountPlan {
            binds,
            ..MountPlan::default()
        });
        let spec = ProcessSpec {
            mounts,
            ..place.user_shell("exit 0")
        };
        let ExitCause::SetupFailed(failure) = place.run(&spec).await.cause else {
            panic!("started")
        };
        let expected = format!(
            "cannot prepare the mount {}: No such file or directory",
            source.display()
        );
        assert_eq!(failure.to_string(), expected);
    });
}

fn fs_identity() {
    in_place(async |place| {
        let (owner, stranger) = (new_user(), new_user());
        let file = place.owned("home", owner).join("log");
        std::fs::write(&file, "one\ntwo\n").unwrap();
        assert_eq!(tail(&file, 5, Some(owner)).unwrap(), "two\n");
        let error = tail(&file, 5, Some(stranger)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        // The rights are back.
        assert!(std::fs::read(&file).is_ok());
        let guard = FsIdentity::assume(stranger).unwrap();
        assert!(std::fs::read(&file).is_err());
        drop(guard);
        assert!(std::fs::read(&file).is_ok());
    });
}
