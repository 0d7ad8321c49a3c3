//! A first-in first-out job queue with a cap. Job order depends on the script and the settlements only.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Waker};

use boa_engine::job::{Job, JobExecutor};
use boa_engine::{Context, JsNativeError, JsResult};

#[derive(Debug, Default)]
pub(super) struct Executor {
    queue: RefCell<VecDeque<Job>>,
    done: Cell<u64>,
    limit: Cell<u64>,
    exhausted: Cell<bool>,
}

impl Executor {
    pub(super) fn set_limit(&self, jobs: u64) {
        self.limit.set(jobs);
    }

    /// The cap was passed; the realm is not used again.
    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted.get()
    }

    fn next(&self) -> Option<Job> {
        self.queue.borrow_mut().pop_front()
    }

    fn run(&self, job: Job, context: &mut Context) -> JsResult<()> {
        match job {
            Job::PromiseJob(job) => job.call(context).map(drop),
            Job::GenericJob(job) => job.call(context).map(drop),
            // Only `import()` makes these. The idle loader fails at once, so one poll settles it.
            Job::AsyncJob(job) => {
                let cell = RefCell::new(context);
                let future = pin!(job.call(&cell));
                let _ = future.poll(&mut TaskContext::from_waker(Waker::noop()));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl JobExecutor for Executor {
    fn enqueue_job(self: Rc<Self>, job: Job, _context: &mut Context) {
        // Timers, finalization and `Atomics.waitAsync` have no place in a script that must repeat itself.
        if matches!(job, Job::PromiseJob(_) | Job::GenericJob(_) | Job::AsyncJob(_)) {
            self.queue.borrow_mut().push_back(job);
        }
    }

    fn run_jobs(self: Rc<Self>, context: &mut Context) -> JsResult<()> {
        while let Some(job) = self.next() {
            self.done.set(self.done.get() + 1);
            let ran = if self.done.get() > self.limit.get() {
                self.exhausted.set(true);
                Err(JsNativeError::range().with_message("too many promise jobs").into())
            } else {
                self.run(job, context)
            };
            if ran.is_err() {
                self.queue.borrow_mut().clear();
                return ran;
            }
        }
        context.clear_kept_objects();
        Ok(())
    }
}
