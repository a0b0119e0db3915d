//! The state of a loaded library: the machine, its handles, faults of calls.
//!
//! Every call enters through [`system`] or [`device`]. Both read the file again if it has
//! changed, and wait there for as long as it says that the call hangs. The lock is never held
//! while waiting, so that one call that hangs keeps no other from its answer.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::activity::{self, Activity};
use crate::code::Code;
use crate::counters::{self, CounterFile, Counters, Seen};
use crate::events::EventSet;
use crate::file::{FileError, Presence};
use crate::machine::{Gpu, Machine};
use crate::processes::Holders;

/// Names the file of the machine.
const VARIABLE: &str = "LOTE_NVML_SIM";

/// How often a call that hangs looks at the file.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// How often one that waits for an event does. Waiting goes on all the time, so it must cost
/// nothing.
const LOOK_FOR_EVENTS: Duration = Duration::from_millis(100);

/// For how long it is taken as known who uses the GPUs: looking costs a system call for each open
/// file of the machine.
const KNOWN_FOR: Duration = Duration::from_millis(50);

/// Where handles begin and how far they are apart: no handle is an address of anything.
const HANDLE_FIRST: usize = 0x4e56_0010;
const HANDLE_STEP: usize = 0x10;

static LIBRARY: Mutex<Library> = Mutex::new(Library::new());

/// Everything that a loaded library knows.
#[derive(Debug)]
pub(crate) struct Library {
    /// How often it was initialised without being shut down.
    references: u32,
    loaded: Option<Loaded>,
    /// UUIDs of GPUs and MIG instances, each with a handle by its place.
    handles: Vec<String>,
    sets: BTreeMap<usize, EventSet>,
    sets_made: usize,
}

/// The machine that the file describes, and what was seen there.
#[derive(Debug)]
struct Loaded {
    path: PathBuf,
    stamp: Stamp,
    machine: Arc<Machine>,
    counters: CounterFile,
    looked_at: Option<Instant>,
    seen: Vec<(Activity, Counters)>,
    accounts: BTreeMap<(usize, u32), ProcessAccount>,
}

/// What tells one version of the file from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(u64, u64, i64, i64);

/// What a process has used of a GPU, for accounting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessAccount {
    /// When it was seen first, in nanoseconds of the clock on the wall.
    pub(crate) started: u64,
    /// When it was seen last.
    pub(crate) seen: u64,
    pub(crate) memory_peak: u64,
    pub(crate) is_running: bool,
}

/// A GPU or MIG instance that a call is for.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) machine: Arc<Machine>,
    pub(crate) number: usize,
    pub(crate) mig: Option<usize>,
}

impl Target {
    /// The GPU, or that of which it is an instance.
    pub(crate) fn gpu(&self) -> Result<&Gpu, Code> {
        self.machine.gpus.get(self.number).ok_or(Code::UNKNOWN)
    }

    /// The GPU, for calls that an instance does not know.
    pub(crate) fn whole(&self) -> Result<&Gpu, Code> {
        match self.mig {
            None => self.gpu(),
            Some(_) => Err(Code::NOT_SUPPORTED),
        }
    }

    /// What it does at the moment and has counted.
    pub(crate) fn look(&self) -> Result<(Activity, Counters), Code> {
        let mut library = lock();
        let loaded = library.loaded.as_mut().ok_or(Code::UNINITIALIZED)?;
        loaded.look(false);
        let seen = loaded.seen.get(self.number).cloned();
        let (activity, mut counters) = seen.ok_or(Code::UNKNOWN)?;
        counters.go_on(counters::now());
        Ok((activity, counters))
    }

    /// What processes have used of it.
    pub(crate) fn accounts(&self) -> Result<Vec<(u32, ProcessAccount)>, Code> {
        self.look()?;
        let library = lock();
        let loaded = library.loaded.as_ref().ok_or(Code::UNINITIALIZED)?;
        let own = loaded
            .accounts
            .range((self.number, 0)..=(self.number, u32::MAX));
        Ok(own.map(|((_, pid), account)| (*pid, *account)).collect())
    }
}

/// A call that is for no GPU.
pub(crate) fn system<T>(
    function: &str,
    answer: impl FnOnce(&mut Library) -> Result<T, Code>,
) -> Result<T, Code> {
    loop {
        let mut library = lock();
        let machine = library.machine()?;
        if !machine.hangs(function, None) {
            return match machine.error(function, None) {
                Some(error) => Err(error),
                None => answer(&mut library),
            };
        }
        drop(library);
        thread::sleep(LOOK_AGAIN);
    }
}

/// A call that is for what has a handle.
pub(crate) fn device(function: &str, handle: usize) -> Result<Target, Code> {
    loop {
        let mut library = lock();
        let target = library.target(handle)?;
        if !target.machine.hangs(function, Some(target.number)) {
            return reachable(function, target);
        }
        drop(library);
        thread::sleep(LOOK_AGAIN);
    }
}

/// Refuses a call for a GPU that is lost, or that fails by the file's word.
fn reachable(function: &str, target: Target) -> Result<Target, Code> {
    if target.gpu()?.spec.state == Presence::Lost {
        return Err(Code::GPU_IS_LOST);
    }
    match target.machine.error(function, Some(target.number)) {
        Some(error) => Err(error),
        None => Ok(target),
    }
}

/// Loads the file if this is the first time.
pub(crate) fn initialise(function: &str) -> Result<(), Code> {
    {
        let mut library = lock();
        if library.references == 0 || library.loaded.is_none() {
            library.loaded = Some(Loaded::first().map_err(|error| {
                eprintln!("lote-nvml-sim: {error}");
                Code::DRIVER_NOT_LOADED
            })?);
        }
        // Counted before the answer, because a call enters only when it is.
        library.references += 1;
    }
    system(function, |_| Ok(())).inspect_err(|_| {
        let mut library = lock();
        library.references = library.references.saturating_sub(1);
    })
}

/// Forgets everything but the handles with the last reference.
pub(crate) fn shut_down(function: &str) -> Result<(), Code> {
    system(function, |library| {
        library.references -= 1;
        if library.references == 0 {
            library.loaded = None;
            library.sets.clear();
        }
        Ok(())
    })
}

/// Waits for the next event of a set, for at most so long.
pub(crate) fn wait(
    function: &str,
    set: usize,
    limit: Duration,
) -> Result<(usize, crate::machine::Happening), Code> {
    let start = Instant::now();
    loop {
        let found = system(function, |library| {
            let machine = library.machine()?;
            let set = library.sets.get_mut(&set).ok_or(Code::INVALID_ARGUMENT)?;
            match set.take(&machine) {
                Some(event) => {
                    let uuid = machine.gpus.get(event.gpu).map(|gpu| gpu.uuid.clone());
                    let handle = library.handle(uuid.ok_or(Code::UNKNOWN)?);
                    Ok(Some((handle, event.kind)))
                }
                None if set.has_lost_one(&machine) => Err(Code::GPU_IS_LOST),
                None => Ok(None),
            }
        })?;
        let left = limit.saturating_sub(start.elapsed());
        match found {
            Some(found) => return Ok(found),
            None if left.is_zero() => return Err(Code::TIMEOUT),
            None => thread::sleep(left.min(LOOK_FOR_EVENTS)),
        }
    }
}

fn lock() -> MutexGuard<'static, Library> {
    // What a panic left is consistent enough: every step is one assignment.
    LIBRARY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Library {
    const fn new() -> Self {
        Self {
            references: 0,
            loaded: None,
            handles: Vec::new(),
            sets: BTreeMap::new(),
            sets_made: 0,
        }
    }

    /// The machine as the file describes it now.
    pub(crate) fn machine(&mut self) -> Result<Arc<Machine>, Code> {
        if self.references == 0 {
            return Err(Code::UNINITIALIZED);
        }
        let loaded = self.loaded.as_mut().ok_or(Code::UNINITIALIZED)?;
        loaded.refresh();
        Ok(Arc::clone(&loaded.machine))
    }

    /// The handle of a GPU that is counted, if it can be reached.
    pub(crate) fn handle_of(
        &mut self,
        function: &str,
        number: usize,
        mig: Option<usize>,
    ) -> Result<usize, Code> {
        let machine = self.machine()?;
        let target = reachable(
            function,
            Target {
                machine,
                number,
                mig,
            },
        )?;
        let gpu = target.gpu()?;
        let uuid = match mig {
            None => gpu.uuid.clone(),
            Some(instance) => gpu.mig.get(instance).ok_or(Code::NOT_FOUND)?.uuid.clone(),
        };
        Ok(self.handle(uuid))
    }

    fn handle(&mut self, uuid: String) -> usize {
        let known = self.handles.iter().position(|known| *known == uuid);
        let place = known.unwrap_or_else(|| {
            self.handles.push(uuid);
            self.handles.len() - 1
        });
        HANDLE_FIRST + place * HANDLE_STEP
    }

    fn target(&mut self, handle: usize) -> Result<Target, Code> {
        let machine = self.machine()?;
        let offset = handle.checked_sub(HANDLE_FIRST);
        let place = offset.filter(|offset| offset % HANDLE_STEP == 0);
        let uuid = place.and_then(|offset| self.handles.get(offset / HANDLE_STEP));
        let uuid = uuid.ok_or(Code::INVALID_ARGUMENT)?;
        let (number, mig) = find(&machine, uuid).ok_or(Code::INVALID_ARGUMENT)?;
        Ok(Target {
            machine,
            number,
            mig,
        })
    }

    pub(crate) fn make_set(&mut self) -> usize {
        self.sets_made += 1;
        let handle = HANDLE_FIRST / 2 + self.sets_made * HANDLE_STEP;
        self.sets.insert(handle, EventSet::default());
        handle
    }

    pub(crate) fn set(&mut self, handle: usize) -> Result<&mut EventSet, Code> {
        self.sets.get_mut(&handle).ok_or(Code::INVALID_ARGUMENT)
    }

    pub(crate) fn free_set(&mut self, handle: usize) -> Result<(), Code> {
        let freed = self.sets.remove(&handle);
        freed.map(|_| ()).ok_or(Code::INVALID_ARGUMENT)
    }
}

/// A GPU or MIG instance that is not gone, by its UUID.
pub(crate) fn find(machine: &Machine, uuid: &str) -> Option<(usize, Option<usize>)> {
    machine.counted().find_map(|(number, gpu)| {
        if gpu.uuid == uuid {
            return Some((number, None));
        }
        let instance = gpu.mig.iter().position(|instance| instance.uuid == uuid)?;
        Some((number, Some(instance)))
    })
}

impl Loaded {
    fn first() -> Result<Self, FileError> {
        let path = machine_file()?;
        let stamp = stamp(&path)?;
        let machine = read(&path)?;
        Ok(Self {
            counters: CounterFile::beside(&path),
            path,
            stamp,
            machine: Arc::new(machine),
            looked_at: None,
            seen: Vec::new(),
            accounts: BTreeMap::new(),
        })
    }

    /// Reads the file again if it has changed. One that cannot be read changes nothing: it may
    /// be in the middle of being written.
    fn refresh(&mut self) {
        let Ok(stamp) = stamp(&self.path) else {
            return;
        };
        if stamp == self.stamp {
            return;
        }
        // What was until now is counted as what it was.
        self.look(true);
        self.stamp = stamp;
        match read(&self.path) {
            Ok(machine) => self.machine = Arc::new(machine),
            Err(error) => eprintln!("lote-nvml-sim: {error}; everything stays as it was"),
        }
        self.looked_at = None;
    }

    /// Looks at who uses the GPUs, unless that is known.
    fn look(&mut self, now: bool) {
        let known = self.looked_at.is_some_and(|at| at.elapsed() < KNOWN_FOR);
        if known && !now {
            return;
        }
        let machine = Arc::clone(&self.machine);
        let holders = if machine.find_processes {
            let gpus = machine.gpus.iter();
            Holders::find(gpus.flat_map(|gpu| {
                let instances = gpu.mig.iter().map(|instance| instance.device.as_path());
                std::iter::once(gpu.device.as_path()).chain(instances)
            }))
        } else {
            Holders::default()
        };
        let now = counters::now();
        self.seen.clear();
        for (number, gpu) in machine.gpus.iter().enumerate() {
            let activity = Activity::of(gpu, &holders);
            let (power_violation, thermal_violation) =
                activity::is_held_back(activity.reasons(&gpu.spec));
            let seen = Seen {
                watts: activity.power(&gpu.spec),
                power_violation,
                thermal_violation,
            };
            self.account(number, &activity, now);
            let counters = self.counters.look(number, &gpu.uuid, now, seen);
            self.seen.push((activity, counters));
        }
        self.looked_at = Some(Instant::now());
    }

    fn account(&mut self, number: usize, activity: &Activity, now: u64) {
        let own = self.accounts.range_mut((number, 0)..=(number, u32::MAX));
        for ((_, pid), account) in own {
            account.is_running = activity.processes.iter().any(|it| it.pid == *pid);
        }
        for process in &activity.processes {
            let account = self.accounts.entry((number, process.pid));
            let account = account.or_insert(ProcessAccount {
                started: now,
                seen: now,
                memory_peak: 0,
                is_running: true,
            });
            account.seen = now;
            account.memory_peak = account.memory_peak.max(process.memory);
        }
    }
}

fn read(path: &Path) -> Result<Machine, FileError> {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let text = fs::read_to_string(path)
        .map_err(|error| FileError::new(format!("cannot read '{}': {error}", path.display())))?;
    Machine::parse(&text, cpus)
        .map_err(|error| FileError::new(format!("'{}': {error}", path.display())))
}

fn stamp(path: &Path) -> Result<Stamp, FileError> {
    let of = |metadata: Metadata| {
        Stamp(
            metadata.ino(),
            metadata.size(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        )
    };
    fs::metadata(path)
        .map(of)
        .map_err(|error| FileError::new(format!("cannot read '{}': {error}", path.display())))
}

/// The file that the environment names, or the one beside this library that has its name and
/// `.toml`: one process can then load several copies, each with a machine of its own.
fn machine_file() -> Result<PathBuf, FileError> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        return Ok(path.into());
    }
    let own = own_path().map(|mut path| {
        path.as_mut_os_string().push(".toml");
        path
    });
    own.filter(|path| path.is_file()).ok_or_else(|| {
        FileError::new(format!(
            "the file of the machine is missing; name it in {VARIABLE}"
        ))
    })
}

/// Where this library was loaded from: the file that the kernel has mapped where this code is.
fn own_path() -> Option<PathBuf> {
    let here = own_path as *const () as usize;
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| {
        let range = line
            .split(' ')
            .next()
            .and_then(|range| range.split_once('-'));
        let hex = |text| usize::from_str_radix(text, 16).ok();
        let range = range.and_then(|(from, to)| hex(from).zip(hex(to)));
        range.is_some_and(|(from, to)| (from..to).contains(&here))
    })?;
    line.find('/').map(|at| PathBuf::from(&line[at..]))
}
