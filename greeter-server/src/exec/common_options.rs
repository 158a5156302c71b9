//! What may be said of a program in whichever way it answers: one method for each, on the options
//! of all. Must not know what else they have.

/// Gives options whose first field has a [`Program`](super::process::Program) and `reaps_orphans`
/// the methods that set these.
macro_rules! common_options {
    ($options:ident) => {
        impl $options {
            fn program(&mut self) -> &mut crate::exec::process::Program {
                std::sync::Arc::make_mut(&mut self.0.program)
            }

            /// Adds an argument.
            pub fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
                self.program().arguments.push(argument.as_ref().to_owned());
                self
            }

            /// Adds arguments.
            pub fn args(self, arguments: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) -> Self {
                arguments.into_iter().fold(self, Self::arg)
            }

            /// Sets a variable of the program's environment. The others are those of this process,
            /// but for what a service manager has said to it alone; and `PYTHONUNBUFFERED=1`,
            /// unless it is set.
            pub fn env(mut self, name: impl Into<std::ffi::OsString>, value: impl Into<std::ffi::OsString>) -> Self {
                self.program().environment.push((name.into(), value.into()));
                self
            }

            /// Sets how many files each process may have open (the soft limit of RLIMIT_NOFILE in
            /// getrlimit(2); Linux): for a host program that has raised its own. The default is
            /// what this process may.
            pub fn max_open_files(mut self, files: u64) -> Self {
                self.program().max_open_files = Some(files);
                self
            }

            /// Has processes reaped that are children of this one and that it does not know: for a
            /// program that is process 1, as of a container, and that starts no others. What its
            /// processes have started and left behind would stay there as zombies.
            pub const fn reap_orphans(mut self, on: bool) -> Self {
                self.0.reaps_orphans = on;
                self
            }
        }
    };
}

pub(super) use common_options;
