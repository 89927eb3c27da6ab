//! A disk whose power can be cut: ext4 on a loop device over an image file, which lies on a second one of the same kind.
//!
//! ```text
//! data                                   what a cut there takes
//!  │  ext4, mounted at NAME              page cache and journal of this one: files, names and sizes that were not synced
//!  │  loop device
//! disk.img                               stands for the device: what is written and not flushed is in the cache below
//!  │  ext4, mounted at NAME.below        the device's cache as well: all that no FLUSH covers, direct writes too
//!  │  loop device
//! NAME.img, on the machine's file system
//! ```
//!
//! A cut is the ioctl that shuts ext4 down without a flush of its journal. Every write after it is answered with EIO. Then
//! both are unmounted and mounted again, which replays their journals. Not modelled: torn sectors, and a device that keeps
//! any part of its cache; those are the simulator's.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::e2e::cluster::{run_ok, wait_for};

/// Programs that this needs.
const PROGRAMS: [&str; 7] = ["mkfs.ext4", "losetup", "mount", "umount", "sync", "unshare", "perl"];
/// Major number of loop devices.
const LOOP_MAJOR: u64 = 7;
/// EXT4_IOC_SHUTDOWN, `_IOR('X', 125, __u32)`, with 2, EXT4_GOING_FLAGS_NOLOGFLUSH: the journal is not flushed first.
/// In Perl, since a plain `ioctl` is unsafe in Rust and no file of this crate may be.
const SHUT_DOWN: &str = r#"
    open(my $place, "<", $ARGV[0]) or die "could not open $ARGV[0]: $!\n";
    my $flags = pack("L", 2);
    defined(ioctl($place, 0x8004587d, $flags)) or die "could not shut $ARGV[0] down: $!\n";
"#;

/// First word of what a suite runs in a mount namespace of its own; the suite's name is the second.
pub const INSIDE: &str = "--inside";

/// Runs the inner part of a suite in a mount namespace of its own: whatever ends it, nothing stays mounted. Skips it by name
/// where disks cannot be made.
pub fn run_with_disks(suite: &str) -> Result<()> {
    if let Some(why) = what_is_missing() {
        println!("  SKIPPED: suite {suite}: {why}");
        return Ok(());
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]).arg(std::env::current_exe()?);
    let status = command.args(["e2e", INSIDE, suite]).status().context("could not run unshare")?;
    ensure!(status.success(), "see above ({status})");
    Ok(())
}

/// Why disks cannot be made here; `None` if they can.
fn what_is_missing() -> Option<String> {
    let is_root = run_ok(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !is_root {
        return Some("mounting wants root".to_owned());
    }
    let folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let is_there = |program: &&str| !folders.iter().any(|folder| folder.join(program).is_file());
    if let Some(program) = PROGRAMS.into_iter().find(|program| is_there(program)) {
        return Some(format!("{program} is not installed"));
    }
    let loops = run_ok(Command::new("losetup").arg("--find"));
    loops.err().map(|error| format!("there is no free loop device: {error:#}"))
}

/// What a power cut takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// What the file system had not written yet.
    PageCache,
    /// That, and what the device had not been told to flush.
    DeviceCache,
}

/// A disk, its file systems mounted or not. Unmounted when it is dropped.
pub struct Disk {
    upper: Layer,
    lower: Layer,
}

impl Disk {
    /// Makes `dir/NAME.img` of that many bytes with all that is above it, and mounts it at `dir/NAME`. If the disk `lies`,
    /// the file system never tells it to flush.
    pub fn make(dir: &Path, name: &str, bytes: u64, lies: bool) -> Result<Disk> {
        let mount = dir.join(format!("{name}.below"));
        let image = mount.join("disk.img");
        // What the lower file system needs for itself.
        let lower = Layer::make(dir.join(format!("{name}.img")), mount, bytes + (256 << 20), "defaults")?;
        let options = if lies { "barrier=0" } else { "barrier=1" };
        Ok(Disk { upper: Layer::make(image, dir.join(name), bytes, options)?, lower })
    }

    /// Where its file system is mounted.
    pub fn mount(&self) -> &Path {
        &self.upper.mount
    }

    /// Mounts it; ext4 replays its journals.
    pub fn power_on(&mut self) -> Result<()> {
        self.lower.power_on()?;
        self.upper.power_on()
    }

    /// Makes durable what is there by now, also on a disk that lies.
    pub fn settle(&self) -> Result<()> {
        let sync = |layer: &Layer| run_ok(Command::new("sync").arg("-f").arg(&layer.mount)).map(drop);
        sync(&self.upper)?;
        sync(&self.lower)
    }

    /// Cuts the power: nothing reaches the disk any more.
    pub fn cut(&self, loss: Loss) -> Result<()> {
        match loss {
            Loss::PageCache => self.upper.cut(),
            Loss::DeviceCache => self.lower.cut(),
        }
    }

    /// Unmounts it. Nothing may use it any more.
    pub fn power_off(&mut self) -> Result<()> {
        self.upper.power_off()?;
        self.lower.power_off()
    }
}

/// A file system on a loop device over an image. The upper one is dropped, and so unmounted, first.
struct Layer {
    image: PathBuf,
    mount: PathBuf,
    options: &'static str,
    /// While it is mounted.
    device: Option<PathBuf>,
}

impl Layer {
    fn make(image: PathBuf, mount: PathBuf, bytes: u64, options: &'static str) -> Result<Layer> {
        fs::create_dir_all(&mount)?;
        File::create(&image)?.set_len(bytes)?;
        run_ok(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-F"]).arg(&image))?;
        // What was made is there before the first cut.
        File::open(&image)?.sync_all()?;
        let mut layer = Layer { image, mount, options, device: None };
        layer.power_on()?;
        Ok(layer)
    }

    fn power_on(&mut self) -> Result<()> {
        ensure!(self.device.is_none(), "{} is mounted already", self.mount.display());
        let device = PathBuf::from(run_ok(Command::new("losetup").args(["--find", "--show"]).arg(&self.image))?.trim());
        let mut mount = Command::new("mount");
        let mounted = run_ok(mount.args(["-t", "ext4", "-o", self.options]).arg(&device).arg(&self.mount));
        // From now on the device goes when nothing is mounted on it any more, whatever becomes of this process.
        let detached = run_ok(Command::new("losetup").arg("-d").arg(&device));
        mounted.with_context(|| format!("could not mount {} after a power cut", self.image.display()))?;
        self.device = Some(device);
        detached?;
        self.check()
    }

    fn cut(&self) -> Result<()> {
        self.check()?;
        run_ok(Command::new("perl").args(["-e", SHUT_DOWN]).arg(&self.mount)).map(drop)
    }

    fn power_off(&mut self) -> Result<()> {
        if self.device.is_none() {
            return Ok(());
        }
        let umount = || Command::new("umount").arg(&self.mount).output();
        let done = wait_for(Duration::from_secs(10), || Ok(umount()?.status.success().then_some(())));
        done.with_context(|| format!("{} is still in use", self.mount.display()))?;
        self.device = None;
        Ok(())
    }

    /// Refuses unless what is mounted here is the loop device over this image: a cut must never hit the machine itself.
    fn check(&self) -> Result<()> {
        let device = self.device.as_ref().context("the disk is not mounted")?;
        let here = fs::metadata(&self.mount)?;
        let home = fs::metadata(self.image.parent().context("an image lies in a folder")?)?;
        check_device(here.dev(), fs::metadata(device)?.rdev(), &[fs::metadata("/")?, home])
            .with_context(|| format!("power of {} is not cut", self.mount.display()))?;
        let name = device.file_name().context("a device has a name")?.to_string_lossy().into_owned();
        let backing = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file"))?;
        let image = self.image.canonicalize()?;
        ensure!(Path::new(backing.trim_end()) == image, "{name} lies over {backing:?}, not over {}", image.display());
        Ok(())
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        if self.device.is_some() {
            let _ = Command::new("umount").arg("-l").arg(&self.mount).status();
        }
    }
}

/// `here` is what is mounted, `expected` the loop device, `others` what must not be hit.
fn check_device(here: u64, expected: u64, others: &[Metadata]) -> Result<()> {
    if let Some(other) = others.iter().find(|other| other.dev() == here) {
        bail!("it is the machine's own file system (device {})", other.dev());
    }
    ensure!(major(here) == LOOP_MAJOR, "device {here} is no loop device");
    ensure!(here == expected, "device {here} is mounted and not {expected}");
    Ok(())
}

/// The major number of a device, as the C library packs it.
fn major(device: u64) -> u64 {
    (device >> 8) & 0xfff | (device >> 32) & !0xfff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_loop_device_expected_may_be_cut() {
        let root = fs::metadata("/").unwrap();
        let (loop_3, loop_4, disk) = (7 << 8 | 3, 7 << 8 | 4, 254 << 8 | 1);
        assert!(check_device(loop_3, loop_3, &[]).is_ok());
        assert!(check_device(root.dev(), root.dev(), std::slice::from_ref(&root)).is_err());
        assert!(check_device(disk, disk, &[]).is_err());
        assert!(check_device(loop_3, loop_4, &[]).is_err());
        assert_eq!((major(loop_3), major(disk), major(0x0010_0000_0003)), (7, 254, 0));
    }

    #[test]
    fn a_disk_that_is_not_mounted_is_not_cut() {
        let dir = std::env::temp_dir();
        let layer = Layer { image: dir.join("none.img"), mount: dir, options: "defaults", device: None };
        assert!(layer.cut().is_err());
    }
}
