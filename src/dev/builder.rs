//! The thread that builds what an author saves: each project by this program once more, in a process group of its own,
//! so that a build ends with us, and what compilers say can be told beside the prompt.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use common::diagnostic::quoted;
use common::node::PARENT_VARIABLE;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use operator_tool::watch::{News, watch};
use puppetmaster::develop::Order;
use tokio::sync::mpsc;

/// Dropped, it ends the build under way.
pub struct Builder(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    is_ending: bool,
    /// Of the build under way, until it is reaped.
    group: Option<Pid>,
}

impl Builder {
    /// Tells what it builds, and orders its deployment; `ready` comes when all was built once.
    pub fn start(
        directory: PathBuf,
        orders: mpsc::Sender<Order>,
        ready: Vec<Order>,
    ) -> std::io::Result<Self> {
        let builder = Self(Arc::default());
        let building = Self(Arc::clone(&builder.0));
        let mut ready = Some(ready);
        let work = move || {
            let send = |news: Vec<Order>| {
                let mut news = news.into_iter();
                news.all(|order| orders.blocking_send(order).is_ok())
            };
            let ended = watch(&directory, |news| match news {
                News::Changed(project) => {
                    let say = |line| drop(orders.blocking_send(Order::Say(line)));
                    send(vec![building.built(&project, say)])
                }
                News::Idle => send(ready.take().unwrap_or_default()),
            });
            if let Err(error) = ended {
                let message = format!("error: changes are not seen any more: {error}");
                send(vec![Order::Say(message)]);
            }
        };
        std::thread::Builder::new()
            .name("build".to_owned())
            .spawn(work)?;
        Ok(builder)
    }

    /// Builds a project; what is to be done then.
    fn built(&self, project: &Path, say: impl Fn(String)) -> Order {
        let failed = |why: &dyn std::fmt::Display| {
            Order::Say(format!("error: {}: {why}", project.display()))
        };
        let name = project.file_name().unwrap_or_default();
        let file = project.join(name).with_added_extension("wasm");
        let Some(deployed) = file.to_str() else {
            return failed(&"its path is not UTF-8");
        };
        match self.build(project, &file, say) {
            Ok(true) => Order::Execute(format!("deploy {}", quoted(deployed))),
            Ok(false) => failed(&"it was not built, and stays as it was"),
            Err(error) => failed(&error),
        }
    }

    /// Whether it was built; each line that is printed meanwhile is said.
    fn build(&self, project: &Path, file: &Path, say: impl Fn(String)) -> std::io::Result<bool> {
        // The very file that is running, whatever has taken its place on the disk.
        let mut command = Command::new("/proc/self/exe");
        let (printed, print) = std::io::pipe()?;
        command
            .args(["operator", "build"])
            .arg(project)
            .arg("--out")
            .arg(file)
            .env(PARENT_VARIABLE, std::process::id().to_string())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(print.try_clone()?)
            .stderr(print);
        let mut child = self.spawn(&mut command)?;
        // It holds the other end of the pipe.
        drop(command);
        for line in BufReader::new(printed).split(b'\n') {
            say(String::from_utf8_lossy(&line?).into_owned());
        }
        // From here on its number may be given to another process.
        self.lock().group = None;
        Ok(child.wait()?.success())
    }

    fn spawn(&self, command: &mut Command) -> std::io::Result<Child> {
        let mut state = self.lock();
        if state.is_ending {
            return Err(std::io::Error::other("everything ends"));
        }
        let child = command.spawn()?;
        state.group = i32::try_from(child.id()).ok().map(Pid::from_raw);
        Ok(child)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        let mut state = self.lock();
        state.is_ending = true;
        if let Some(group) = state.group {
            // It may have ended by itself just now.
            let _ = killpg(group, Signal::SIGTERM);
        }
    }
}
