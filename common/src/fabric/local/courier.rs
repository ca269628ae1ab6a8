//! Carries one-way messages within this process.

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::{End, Leg};
use crate::fabric::outbox::{Courier, Letter};
use crate::fabric::{Address, BoxFuture, Bytes, machine};

/// In order, unless a simulation has it otherwise; what its node has not sent when it dies is never sent.
pub(super) struct LocalCourier(pub End);

impl Courier for LocalCourier {
    fn carry(&self, to: Address, mut letters: mpsc::Receiver<Letter>) -> BoxFuture<'static, ()> {
        let end = self.0.clone();
        Box::pin(async move {
            while let Some(letter) = letters.recv().await {
                let passage =
                    end.nature
                        .passage(&end.name, &to, Leg::Message(letter.method, &letter.body));
                if passage.is_lost {
                    continue;
                }
                let due = letter.due + passage.latency;
                for later in passage.strays {
                    let (end, to) = (end.clone(), to.clone());
                    let (method, body) = (letter.method, letter.body.clone());
                    let stray = async move {
                        end.deliver(&to, letter.due, due + later, method, body)
                            .await;
                    };
                    machine::spawn(Box::pin(stray)).detach();
                }
                if !passage.is_overtaken {
                    end.deliver(&to, letter.due, due, letter.method, letter.body)
                        .await;
                }
            }
        })
    }

    fn chance(&self) -> u64 {
        self.0.nature.random()
    }
}

impl End {
    /// Leaves at `sent`, unless the node is dead by then, and arrives at `due`.
    async fn deliver(
        &self,
        to: &Address,
        sent: Instant,
        due: Instant,
        method: &'static str,
        body: Bytes,
    ) {
        sleep_until(due).await;
        if !self.life.lives_at(sent).await || self.faults.is_cut(to) {
            return;
        }
        let delivered = match self.network.listener(to) {
            Ok(listener) => listener.answer(method, body).await,
            Err(unreachable) => Err(unreachable),
        };
        if let Err(lost) = delivered {
            tracing::debug!(%to, method, %lost, "one-way message not handled");
        }
    }
}
