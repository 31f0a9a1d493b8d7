//! Methods that copy containers.

use osctl_api::container::Container;
use osctl_api::copies as api;
use osctl_api::daemon::Done;

use super::{Context, Handle};
use crate::container::{Audience, Pace};
use crate::error::Result;

impl Context {
    /// Who hears of the operation that the call asks for.
    pub(super) fn audience(&self) -> Audience {
        Audience {
            progress: self.progress_sender(),
            cancel: self.cancel(),
            pace: Pace::FREE,
        }
    }

    /// The same, for one that copies no more than so many bytes a second.
    pub(super) fn paced(&self, limit: Option<u64>) -> Result<Audience> {
        let pace = Pace::new(limit)?;
        Ok(Audience {
            pace,
            ..self.audience()
        })
    }
}

impl Handle for api::Copy {
    async fn handle(self, cx: &mut Context) -> Result<Container> {
        let container = cx.container(&self.id)?;
        let pool = self.new_id.pool.as_ref().unwrap_or(&container.pool);
        let (target, audience) = (cx.daemon.pool(pool)?, cx.paced(self.limit)?);
        let copy = container.copy(&target, self, audience).await?;
        Ok(copy.info(&cx.daemon, &target, None))
    }
}

impl Handle for api::Boot {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let audience = cx.audience();
        cx.container(&self.id)?.boot(self, audience).await?;
        Ok(Done {})
    }
}

impl Handle for api::Reinstall {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let audience = cx.audience();
        cx.container(&self.id)?.reinstall(self, audience).await?;
        Ok(Done {})
    }
}
