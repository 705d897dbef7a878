//! Another kernel: a virtual machine without hardware acceleration that runs one script and ends.
//!
//! Its file system is an archive in memory (`initramfs`): the script, the programs it calls with
//! their libraries, and the modules it loads. `cargo xtask test` provides kernel and emulator, taken out of
//! Debian's packages and not installed.

mod initramfs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use self::initramfs::Initramfs;
use crate::host::{self, Requirement};
use crate::process::Process;

/// Where `cargo xtask` unpacks the package of the kernel.
const KERNEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/kernel");
/// What this needs of the machine.
pub const NEEDS: &[Requirement] = &[
    Requirement::Provided(KERNEL, "Debian's linux-image-cloud-amd64"),
    Requirement::Command("qemu-system-x86_64", "qemu-system-x86"),
    Requirement::Command("busybox", "busybox-static"),
    Requirement::Command("depmod", "kmod"),
    Requirement::Command("modprobe", "kmod"),
];
/// Memory of the machine, in MiB: the archive is in it twice for a moment.
const MEMORY_MIB: &str = "2000";

/// Boots, runs `script` as the first process and returns what it printed; it ends the machine itself.
///
/// `programs` are copied to `/usr/bin`, before which `/bin` has busybox; `modules` are loaded in
/// the order of the lines of `/modules`, those they depend on first.
#[must_use]
#[track_caller]
pub fn run(script: &str, programs: &[PathBuf], modules: &[&str], deadline: Duration) -> String {
    let kernel = Path::new(KERNEL);
    let release = release(kernel);
    let mut files = Initramfs::default();
    files.add("/init", script.as_bytes());
    files.add_file("/bin/busybox", &command("busybox"));
    for program in programs {
        let name = program.file_name().expect("a program has a name").to_string_lossy();
        files.add_file(&format!("/usr/bin/{name}"), program);
        for library in libraries(program) {
            files.add_file(&library, Path::new(&library));
        }
    }
    let mut order = Vec::new();
    for module in modules_in_order(kernel, &release, modules) {
        let name = format!("/lib/{}", Path::new(&module).file_name().unwrap_or_default().to_string_lossy());
        files.add_file(&name, Path::new(&module));
        order.push(name);
    }
    files.add("/modules", (order.join("\n") + "\n").as_bytes());
    let archive = tempfile::NamedTempFile::new().expect("creating an archive");
    fs::write(archive.path(), files.finish()).expect("writing an archive");

    let mut machine = Command::new(command("qemu-system-x86_64"));
    machine.args(["-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", MEMORY_MIB, "-nographic", "-no-reboot"]);
    machine.arg("-kernel").arg(kernel.join(format!("boot/vmlinuz-{release}")));
    machine.arg("-initrd").arg(archive.path()).args(["-append", "console=ttyS0 quiet panic=-1"]);
    let machine = Process::start("qemu", &mut machine);
    machine.wait_exit(deadline);
    machine.log().replace('\r', "")
}

fn command(name: &str) -> PathBuf {
    host::find_command(name).unwrap_or_else(|| panic!("the test requires {name}"))
}

/// The release of the kernel that was unpacked.
#[track_caller]
fn release(kernel: &Path) -> String {
    let images = fs::read_dir(kernel.join("boot")).expect("the package has a kernel").flatten();
    let mut names = images.map(|image| image.file_name().to_string_lossy().into_owned());
    names.find_map(|name| Some(name.strip_prefix("vmlinuz-")?.to_owned())).expect("a kernel")
}

/// Paths of the libraries that a program loads.
fn libraries(program: &Path) -> Vec<String> {
    let listed = host::run(Command::new("ldd").arg(program));
    let words = listed.split_whitespace().filter(|word| word.starts_with('/'));
    words.map(str::to_owned).collect()
}

/// Paths of the modules and of all that they depend on, each once and in the order of loading.
fn modules_in_order(kernel: &Path, release: &str, modules: &[&str]) -> Vec<String> {
    host::run(Command::new(command("depmod")).arg("-b").arg(kernel).arg(release));
    let mut paths: Vec<String> = Vec::new();
    for module in modules {
        let mut query = Command::new(command("modprobe"));
        query.arg("-d").arg(kernel).args(["-S", release, "--show-depends", module]);
        let listed = host::run(&mut query);
        for path in listed.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            if !paths.iter().any(|known| known == path.trim()) {
                paths.push(path.trim().to_owned());
            }
        }
    }
    paths
}
