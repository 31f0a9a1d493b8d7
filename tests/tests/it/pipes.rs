//! Archives through pipes: from one command to another, and with somebody at the other end who
//! goes away, stops in the middle, or does nothing for ever.

use std::fs::{self, File};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use osctl_api::container::State;
use osctl_tests::host::POOL;
use osctl_tests::pty::Terminal;
use osctl_tests::{Ct, Host, host, wait};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A command with these standard streams, which tells its stderr when it ends.
fn spawn(host: &Host, words: &[&str], input: Stdio, output: Stdio) -> Child {
    let mut command = host.osctl_command(words);
    command.stdin(input).stdout(output).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn pipe() -> (PipeReader, PipeWriter) {
    std::io::pipe().unwrap()
}

#[track_caller]
fn refused(output: &Output, why: &str) {
    let stderr = text(&output.stderr);
    assert!(!output.status.success(), "it was accepted: {stderr}");
    assert!(stderr.contains(why), "{stderr}");
}

/// Pipes and files without a name that the daemon has open.
fn open_files(host: &Host) -> (usize, usize) {
    let fds = fs::read_dir(format!("/proc/{}/fd", host.daemon_pid())).unwrap();
    let targets = fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
    let targets: Vec<_> = targets.map(|t| t.display().to_string()).collect();
    let count = |what: &dyn Fn(&String) -> bool| targets.iter().filter(|t| what(t)).count();
    let nameless = |t: &String| t.contains("/repository/#");
    (count(&|t| t.starts_with("pipe:")), count(&nameless))
}

/// Nothing that was kept meanwhile is left: a file without a name takes space while it is open.
fn nothing_is_kept(host: &Host, pipes: usize) {
    wait::until("the daemon has let go of it", || {
        open_files(host) == (pipes, 0)
    });
    let dir = host.pool_dir(POOL).join("repository");
    let names = fs::read_dir(dir).unwrap().flatten().map(|e| e.file_name());
    let odd: Vec<_> = names.filter(|n| n != "info" && n != "index").collect();
    assert!(odd.iter().all(|name| name.len() == 64), "{odd:?}");
}

/// A container whose archive takes more than a pipe holds.
fn large<'h>(host: &'h Host, id: &str) -> Ct<'h> {
    let ct = host.new_ct(id);
    let noise: Vec<u8> = (0..1u64 << 17)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect();
    for n in 0..6 {
        fs::write(ct.rootfs().join(format!("noise{n}")), &noise).unwrap();
    }
    ct
}

#[test]
fn from_one_command_to_another() {
    let host = host!();
    let (pipes, _) = open_files(&host);
    let ct = large(&host, "web1");
    ct.start();
    let (reader, writer) = pipe();
    let export = spawn(
        &host,
        &["ct", "export", "web1", "-"],
        Stdio::null(),
        writer.into(),
    );
    let words = ["ct", "import", "--as-id", "web2", "-"];
    let import = spawn(&host, &words, reader.into(), Stdio::piped());
    let import = import.wait_with_output().unwrap();
    assert!(import.status.success(), "{}", text(&import.stderr));
    assert!(import.stdout.is_empty());
    let export = export.wait_with_output().unwrap();
    assert!(export.status.success(), "{}", text(&export.stderr));
    // Progress goes to stderr, and only there.
    let told = text(&export.stderr);
    assert!(told.contains("packing its files"), "{told}");
    assert_eq!(ct.state(), State::Running);
    let copy = host.ct("web2");
    for n in 0..6 {
        let read = |ct: &Ct<'_>| fs::read(ct.rootfs().join(format!("noise{n}"))).unwrap();
        assert!(read(&ct) == read(&copy));
    }
    copy.start();
    assert_eq!(copy.sh("echo $((6*7))"), "42\n");
    copy.delete();

    // Files are as good, also with something before: what was there stays.
    let path = host.path("all");
    let words = ["--json", "ct", "export", "--no-consistent", "web1", "-"];
    let mut file = File::create(&path).unwrap();
    file.write_all(b"before").unwrap();
    let output = spawn(&host, &words, Stdio::null(), file.into()).wait_with_output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let bytes = fs::read(&path).unwrap();
    let archive = bytes.strip_prefix(b"before").unwrap();
    assert!(archive.starts_with(b"metadata.yml") && archive.ends_with(&[0; 1024]));
    let mut file = File::open(&path).unwrap();
    file.read_exact(&mut [0; 6]).unwrap();
    let words = ["ct", "import", "--as-id", "web3", "-"];
    let output = spawn(&host, &words, file.into(), Stdio::piped()).wait_with_output();
    assert!(output.unwrap().status.success());
    host.ct("web3").delete();
    ct.delete();
    nothing_is_kept(&host, pipes);
    host.assert_clean();
}

/// More than the threads that the daemon has for what is soon done.
const MANY: usize = 33;

#[test]
fn who_waits_at_a_pipe_keeps_nobody_waiting() {
    let host = host!();
    let (pipes, _) = open_files(&host);
    let (ct, other) = (host.new_ct("web1"), host.new_ct("other"));
    // Those that get nothing, and those of which nothing is taken.
    let imports: Vec<_> = (0..MANY)
        .map(|n| {
            let (reader, writer) = pipe();
            let words = ["ct", "import", "--as-id", &format!("copy{n}"), "-"];
            (spawn(&host, &words, reader.into(), Stdio::piped()), writer)
        })
        .collect();
    let exports: Vec<_> = (0..MANY)
        .map(|_| {
            let (reader, writer) = pipe();
            let words = ["ct", "export", "web1", "-"];
            let export = spawn(&host, &words, Stdio::null(), writer.into());
            let begins = wait::readable(&[&reader], Duration::from_secs(60));
            assert_eq!(begins, [true], "others are in its way");
            (export, reader)
        })
        .collect();
    other.start();
    assert_eq!(other.sh("echo $((6*7))"), "42\n");
    other.kill();
    assert_eq!(other.state(), State::Stopped);
    assert_eq!(ct.state(), State::Stopped);
    let handed: Vec<_> = std::iter::zip(exports, imports)
        .map(|((export, mut reader), (import, mut writer))| {
            std::thread::spawn(move || {
                std::io::copy(&mut reader, &mut writer).unwrap();
                drop(writer);
                [export, import].map(|child| child.wait_with_output().unwrap())
            })
        })
        .collect();
    for thread in handed {
        for output in thread.join().unwrap() {
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
    }
    assert_eq!(host.ids().len(), MANY + 2);
    for id in host.ids() {
        host.ct(&id).delete();
    }
    nothing_is_kept(&host, pipes);
    host.assert_clean();
}

/// A file system in memory.
struct Memory(PathBuf);

impl Memory {
    fn at(place: &Path, mebibytes: u32) -> Memory {
        fs::create_dir_all(place).unwrap();
        let options = format!("size={mebibytes}m,mode=755");
        let flags = MsFlags::empty();
        mount(
            Some("memory"),
            place,
            Some("tmpfs"),
            flags,
            Some(options.as_str()),
        )
        .unwrap();
        Memory(place.to_owned())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn what_is_kept_meanwhile_leaves_room_for_containers() {
    let host = host!();
    let (pipes, _) = open_files(&host);
    let ct = large(&host, "web1");
    let archive = host.path("web1.tar");
    let plain = "--compression=off";
    host.osctl(&["ct", "export", plain, "web1", archive.to_str().unwrap()]);
    // A small pool, of which 64 MiB stay free.
    let place = host.pool_dir("small");
    let small = Memory::at(&place, 120);
    host.install("small");
    host.osctl(&["ct", "cp", "web1", "small:web2"]);
    let copy = host.ct("small:web2");
    let free = || {
        let told = rustix::fs::statvfs(&place).unwrap();
        (told.f_bavail * told.f_frsize) >> 20
    };
    let fill = |left: u64| {
        let filler = place.join("filler");
        let _ = fs::remove_file(&filler);
        let file = File::create(&filler).unwrap();
        let size = free().saturating_sub(left) << 20;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size).unwrap();
    };
    let export = |words: &[&str]| {
        let (mut reader, writer) = pipe();
        let export = spawn(&host, words, Stdio::null(), writer.into());
        let taken = std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
        (export.wait_with_output().unwrap(), taken)
    };
    // Before anything is done, and in the middle.
    for left in [60, 66] {
        fill(left);
        let (output, taken) = export(&["ct", "export", plain, "small:web2", "-"]);
        refused(&output, "stay free for containers");
        assert_eq!(taken, 0);
        let words = ["ct", "import", "--as-id", "web3", "--pool", "small", "-"];
        let (reader, mut writer) = pipe();
        let import = spawn(&host, &words, reader.into(), Stdio::piped());
        let _ = writer.write_all(&fs::read(&archive).unwrap());
        drop(writer);
        refused(
            &import.wait_with_output().unwrap(),
            "stay free for containers",
        );
        assert!(free() >= left - 1, "{} of {left} MiB are left", free());
    }
    // A file elsewhere takes no room there.
    let to = host.path("web2.tar");
    host.osctl(&["ct", "export", "small:web2", to.to_str().unwrap()]);
    fs::remove_file(place.join("filler")).unwrap();
    let (output, taken) = export(&["ct", "export", plain, "small:web2", "-"]);
    assert!(
        output.status.success() && taken > 0,
        "{}",
        text(&output.stderr)
    );
    copy.delete();
    ct.delete();
    nothing_is_kept(&host, pipes);
    host.osctl(&["pool", "uninstall", "small"]);
    drop(small);
    host.assert_clean();
}

#[test]
fn terminals_are_no_place_for_archives() {
    let host = host!();
    let ct = host.new_ct("web1");
    for (words, why) in [
        (["ct", "export", "web1", "-"], "not written to a terminal"),
        (["ct", "import", "--without-netifs", "-"], "not read from"),
    ] {
        let mut terminal = Terminal::spawn(&host.osctl_command(&words));
        terminal.read_until(why);
        terminal.end();
    }
    assert_eq!(host.ids(), ["web1"]);
    ct.delete();
    host.assert_clean();
}

#[test]
fn readers_that_go_away_are_noticed() {
    let host = host!();
    let (pipes, _) = open_files(&host);
    let ct = large(&host, "web1");
    ct.start();
    // Before there is anything to read, in the middle, and one that does not read.
    let export =
        |output: Stdio| spawn(&host, &["ct", "export", "web1", "-"], Stdio::null(), output);
    let (reader, writer) = pipe();
    let gone = export(writer.into());
    drop(reader);
    refused(&gone.wait_with_output().unwrap(), "standard output");
    let (mut reader, writer) = pipe();
    let gone = export(writer.into());
    reader.read_exact(&mut [0; 100_000]).unwrap();
    drop(reader);
    refused(&gone.wait_with_output().unwrap(), "standard output");
    let (mut reader, writer) = pipe();
    let mut stuck = export(writer.into());
    reader.read_exact(&mut [0; 100_000]).unwrap();
    // It is copied: the container is nobody's any more.
    wait::until("it runs again", || ct.state() == State::Running);
    stuck.kill().unwrap();
    assert_eq!(stuck.wait().unwrap().signal(), Some(9));
    nothing_is_kept(&host, pipes);
    wait::until("it runs again", || ct.state() == State::Running);

    // A pipe that nobody reads, given to the daemon itself.
    let (reader, writer) = pipe();
    drop(reader);
    let params = osctl_tests::host::params::<osctl_api::archive::Export>(
        serde_json::json!({"id": "web1", "live": true}),
    );
    let error = host
        .client()
        .call_progress_fds(&params, &[writer], |_| {})
        .unwrap_err();
    assert!(error.to_string().contains("is gone"), "{error}");
    ct.delete();
    nothing_is_kept(&host, pipes);
    host.assert_clean();
}

#[test]
fn what_ends_early_or_never_leaves_nothing() {
    let host = Host::with_pool("[image]\nmax_bytes = 40000000\n");
    let (pipes, _) = open_files(&host);
    let ct = large(&host, "web1");
    let archive = host.path("web1.tar");
    host.osctl(&["ct", "export", "web1", archive.to_str().unwrap()]);
    let bytes = fs::read(&archive).unwrap();
    let words = ["ct", "import", "--as-id", "web2", "-"];
    let begin = |part: &[u8]| {
        let (reader, mut writer) = pipe();
        let import = spawn(&host, &words, reader.into(), Stdio::piped());
        // What is refused early is not read to its end.
        let _ = writer.write_all(part);
        (import, writer)
    };
    for (length, why) in [
        (0, "cut short"),
        (300, "cut short"),
        (bytes.len() / 2, "cut short"),
    ] {
        let (import, writer) = begin(&bytes[..length]);
        drop(writer);
        refused(&import.wait_with_output().unwrap(), why);
        assert_eq!(host.ids(), ["web1"], "{length}");
    }
    // What is of no use is refused before all of it is there.
    let (import, writer) = begin(&[b'x'; 100_000]);
    refused(&import.wait_with_output().unwrap(), "archive");
    drop(writer);
    let taken = ["ct", "import", "-"];
    let (reader, mut writer) = pipe();
    let import = spawn(&host, &taken, reader.into(), Stdio::piped());
    let _ = writer.write_all(&bytes[..bytes.len() / 2]);
    refused(&import.wait_with_output().unwrap(), "exists already");
    drop(writer);
    // More than may come.
    let (import, mut writer) = begin(&bytes);
    let endless = std::thread::spawn(move || while writer.write_all(&[0; 1 << 16]).is_ok() {});
    refused(&import.wait_with_output().unwrap(), "more than 40000000");
    endless.join().unwrap();
    assert_eq!(host.ids(), ["web1"]);

    // One that stops in the middle and does nothing: until its client goes, or the daemon.
    for part in [&bytes[..0], &bytes[..300], &bytes[..bytes.len() / 2]] {
        let (mut import, writer) = begin(part);
        if part.len() > 300 {
            wait::until("it has begun", || host.ids() == ["web1", "web2"]);
        }
        import.kill().unwrap();
        import.wait().unwrap();
        nothing_is_kept(&host, pipes);
        drop(writer);
    }
    wait::until("nothing is left of it", || host.ids() == ["web1"]);
    let (import, _writer) = begin(&bytes[..bytes.len() / 2]);
    wait::until("it has begun", || host.ids() == ["web1", "web2"]);
    host.stop_daemon();
    assert!(!import.wait_with_output().unwrap().status.success());
    host.start_daemon();
    assert_eq!(host.ids(), ["web1"]);
    ct.delete();
    host.assert_clean();
}

#[test]
fn only_files_and_pipes_are_archives() {
    let host = host!();
    let ct = host.new_ct("web1");
    let params =
        osctl_tests::host::params::<osctl_api::archive::Export>(serde_json::json!({"id": "web1"}));
    let null = File::options().write(true).open("/dev/null").unwrap();
    let error = host.client().call_progress_fds(&params, &[null], |_| {});
    let error = error.unwrap_err().to_string();
    assert!(error.contains("regular file or a pipe"), "{error}");
    // Standard output may be anything, as it is the command that writes to it.
    let output = spawn(
        &host,
        &["ct", "export", "web1", "-"],
        Stdio::null(),
        Stdio::null(),
    );
    assert!(output.wait_with_output().unwrap().status.success());
    ct.delete();
    host.assert_clean();
}
