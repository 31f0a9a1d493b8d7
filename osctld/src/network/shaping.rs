//! Limits of rates. Into a container: a queueing discipline on the host's end. Out of it: what the
//! host's end receives goes through another device (ifb), whose queueing discipline limits it.
//!
//! The device carries the mark of its interface and goes when that is deleted.

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};
use nix::errno::Errno;
use osctl_api::net::{IfName, Rate};

use super::error::{Error, Result};
use super::link::{Host, label};
use super::message::{self, Link, indexed, named, nest, number, with};
use super::netlink::{self, Batch};
use super::wanted::{self, Wanted};

/// How this kernel can limit a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shaper {
    /// sch_cake: keeps queues short and flows apart.
    Cake,
    /// sch_tbf: a token bucket before a queue.
    Tbf,
}

/// What is known of an interface before its rates are limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// It is new.
    Nothing,
    /// It may have limits.
    Unknown,
}

/// The name of the device that limits what comes out of a container.
pub(super) fn ifb_name(host_name: &IfName) -> IfName {
    let name = host_name.as_str();
    let readable = name.rsplit_once('-').map_or(name, |(readable, _)| readable);
    wanted::hashed(readable, &format!("ifb/{name}"))
}

/// Where our queueing disciplines are known by (tcm_handle).
const HANDLE: TcHandle = TcHandle { major: 1, minor: 0 };
/// Where ours on what comes in is: the only handle that the kernel has for it.
const INGRESS: TcHandle = TcHandle {
    major: 0xffff,
    minor: 0,
};

// linux/pkt_sched.h, linux/pkt_cls.h, linux/tc_act/tc_mirred.h
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TC_LINKLAYER_ETHERNET: u8 = 1;
const TCA_CAKE_BASE_RATE64: u16 = 2;
const TCA_U32_SEL: u16 = 5;
const TCA_U32_ACT: u16 = 7;
const TC_U32_TERMINAL: u8 = 1;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;
const TC_ACT_STOLEN: u32 = 4;
const TCA_EGRESS_REDIR: u32 = 1;

impl Host {
    /// Limits the rates of an interface as it is wanted, and ends limits that are not.
    pub(super) fn shape(&self, wanted: &Wanted, link: &Link, before: Before) -> Result<()> {
        let index = link.index;
        let mtu = wanted.mtu.unwrap_or(link.mtu);
        match wanted.max_rx {
            Rate::UNLIMITED if is_ours(&link.discipline) => {
                self.let_in_everything(wanted, index)?
            }
            Rate::UNLIMITED => {}
            rate => self.limit(index, rate, mtu, &label(wanted))?,
        }
        let ifb = match before {
            Before::Nothing if wanted.max_tx.is_unlimited() => return Ok(()),
            _ => self.link(ifb_name(&wanted.host_name).as_str())?,
        };
        if let Some(ifb) = &ifb {
            self.check_mark(ifb)?;
        }
        match (wanted.max_tx, ifb) {
            (Rate::UNLIMITED, None) => Ok(()),
            (Rate::UNLIMITED, Some(ifb)) => self.let_out_everything(wanted, index, &ifb),
            (rate, ifb) => self.limit_out(wanted, (index, mtu), rate, ifb),
        }
    }

    /// What is sent over link `index`, packets of up to `mtu` bytes, is limited.
    fn limit(&self, index: u32, rate: Rate, mtu: u32, label: &str) -> Result<()> {
        let Some(bits) = rate.bits() else {
            return Ok(());
        };
        let step = format!("limit the rate of {label} to {rate}");
        let set = |shaper| {
            let mut batch = Batch::new();
            let message = discipline(index, shaper, bits, mtu);
            batch.add(
                RouteNetlinkMessage::NewQueueDiscipline(message),
                NLM_F_CREATE | NLM_F_REPLACE,
                step.clone(),
            );
            self.run(batch).map(drop)
        };
        if let Some(shaper) = self.shaper.get() {
            return set(*shaper);
        }
        // Which there are is known once one of them has been tried.
        let shaper = match set(Shaper::Cake) {
            Err(Error::Kernel(netlink::Error::Refused {
                errno: Errno::ENOENT | Errno::EOPNOTSUPP,
                ..
            })) => {
                set(Shaper::Tbf)?;
                Shaper::Tbf
            }
            result => {
                result?;
                Shaper::Cake
            }
        };
        let _ = self.shaper.set(shaper);
        Ok(())
    }

    fn let_in_everything(&self, wanted: &Wanted, index: u32) -> Result<()> {
        let mut batch = Batch::new();
        // With another's handle it is not ours: that is EINVAL.
        batch.add_tolerating(
            RouteNetlinkMessage::DelQueueDiscipline(tc(index, HANDLE, TcHandle::ROOT)),
            0,
            &[Errno::ENOENT, Errno::EINVAL],
            format!("end the limit of the rate of {}", label(wanted)),
        );
        self.run(batch).map(drop)
    }

    fn let_out_everything(&self, wanted: &Wanted, index: u32, ifb: &Link) -> Result<()> {
        let step = format!("end the limit of the rate of {}", label(wanted));
        let mut batch = Batch::new();
        batch.add_tolerating(
            RouteNetlinkMessage::DelQueueDiscipline(tc(index, INGRESS, TcHandle::INGRESS)),
            0,
            &[Errno::ENOENT, Errno::EINVAL],
            step.clone(),
        );
        batch.add_tolerating(
            RouteNetlinkMessage::DelLink(indexed(ifb.index)),
            0,
            &[Errno::ENODEV],
            step,
        );
        self.run(batch).map(drop)
    }

    fn limit_out(
        &self,
        wanted: &Wanted,
        (index, mtu): (u32, u32),
        rate: Rate,
        ifb: Option<Link>,
    ) -> Result<()> {
        let step = format!("limit the rate of {} to {rate}", label(wanted));
        let mut batch = Batch::new();
        let ifb = match ifb {
            Some(ifb) => ifb,
            None => {
                // What led to an earlier device drops everything now.
                batch.add_tolerating(
                    RouteNetlinkMessage::DelQueueDiscipline(tc(index, INGRESS, TcHandle::INGRESS)),
                    0,
                    &[Errno::ENOENT, Errno::EINVAL],
                    step.clone(),
                );
                self.make_ifb(wanted, &step)?
            }
        };
        self.limit(ifb.index, rate, mtu, &label(wanted))?;
        if !ifb.up {
            batch.add(
                RouteNetlinkMessage::SetLink(message::up(indexed(ifb.index))),
                0,
                step.clone(),
            );
        }
        let mut ingress = tc(index, INGRESS, TcHandle::INGRESS);
        let kind = TcAttribute::Kind("ingress".to_owned());
        ingress.attributes.push(kind);
        batch.add_tolerating(
            RouteNetlinkMessage::NewQueueDiscipline(ingress),
            NLM_F_CREATE | NLM_F_EXCL,
            &[Errno::EEXIST],
            step.clone(),
        );
        batch.add_tolerating(
            RouteNetlinkMessage::NewTrafficFilter(redirect(index, ifb.index)),
            NLM_F_CREATE | NLM_F_EXCL,
            &[Errno::EEXIST],
            step,
        );
        self.run(batch).map(drop)
    }

    fn make_ifb(&self, wanted: &Wanted, step: &str) -> Result<Link> {
        let name = ifb_name(&wanted.host_name);
        let kind = LinkAttribute::LinkInfo(vec![message::kind(InfoKind::Ifb)]);
        let mark = LinkAttribute::IfAlias(self.mark(&wanted.owner, &wanted.name));
        // Else it would speak to whoever is behind it, which is nobody.
        let silent = self.ipv6.then(message::no_generated_addresses);
        let settings = message::settings(silent.into_iter().collect());
        let mut batch = Batch::new();
        batch
            .add(
                RouteNetlinkMessage::NewLink(with(named(name.as_str()), [kind])),
                NLM_F_CREATE | NLM_F_EXCL,
                step,
            )
            .add(
                RouteNetlinkMessage::SetLink(with(named(name.as_str()), [mark, settings])),
                0,
                step,
            )
            .add(RouteNetlinkMessage::GetLink(named(name.as_str())), 0, step);
        let replies = self.run(batch)?;
        let made = Link::all(&replies).next();
        made.ok_or_else(|| Error::NoLink(name.to_string()))
    }
}

/// Whether a queueing discipline is of a kind that we use.
fn is_ours(kind: &str) -> bool {
    matches!(kind, "cake" | "tbf")
}

fn tc(index: u32, handle: TcHandle, parent: TcHandle) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.handle = handle;
    message.header.parent = parent;
    message
}

/// The queueing discipline that limits what link `index` sends to `bits` per second.
fn discipline(index: u32, shaper: Shaper, bits: u64, mtu: u32) -> TcMessage {
    let rate = bits.div_ceil(8);
    let rate64 = |kind| DefaultNla::new(kind, rate.to_ne_bytes().to_vec());
    let (kind, options) = match shaper {
        Shaper::Cake => ("cake", vec![rate64(TCA_CAKE_BASE_RATE64)]),
        Shaper::Tbf => {
            let (burst, limit) = bucket(rate, mtu);
            let parameters = DefaultNla::new(TCA_TBF_PARMS, tbf_parameters(rate, limit));
            let burst = number(TCA_TBF_BURST, burst);
            ("tbf", vec![parameters, rate64(TCA_TBF_RATE64), burst])
        }
    };
    let mut message = tc(index, HANDLE, TcHandle::ROOT);
    message.attributes = vec![
        TcAttribute::Kind(kind.to_owned()),
        TcAttribute::Options(options.into_iter().map(TcOption::Other).collect()),
    ];
    message
}

/// The most that a packet of segmentation offload comes to as frames, with all of their headers.
const WHOLE: u64 = 72 << 10;

/// Size of the bucket and length of the queue of a token bucket filter, bytes.
///
/// The bucket holds what is sent in 10 ms, so that a late timer costs nothing, but two frames at
/// least. A packet that is larger than it is cut into frames by the kernel; then TCP does not know
/// any more how much of its own is queued, and sends until frames are lost, again and again. So
/// where the largest packet takes less than 63 ms it fits into the bucket. The queue holds 50 ms,
/// but 16 frames at least, with which TCP keeps going.
fn bucket(rate: u64, mtu: u32) -> (u32, u32) {
    let frame = u64::from(mtu) + 18;
    let most = u64::from(u32::MAX) / 4;
    let least = if rate / 16 >= WHOLE { WHOLE } else { 0 };
    let burst = (rate / 100).clamp(least.max(2 * frame), most);
    let limit = (rate / 20).clamp(16 * frame, most) + burst;
    (clamped(burst), clamped(limit))
}

fn clamped(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// `struct tc_tbf_qopt`. Its rate says that frames are Ethernet's, so that the kernel needs no table
/// of rates.
fn tbf_parameters(rate: u64, limit: u32) -> Vec<u8> {
    let mut bytes = vec![0, TC_LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0];
    bytes.extend(clamped(rate).to_ne_bytes());
    bytes.extend([0; 12]); // no peak rate
    bytes.extend(limit.to_ne_bytes());
    bytes.extend([0; 8]); // size of the bucket is told in bytes, elsewhere
    bytes
}

/// A filter on what link `index` receives: everything goes to link `to`.
fn redirect(index: u32, to: u32) -> TcMessage {
    // struct tc_u32_sel with one key that fits everything.
    let mut selector = vec![0; 32];
    selector[0] = TC_U32_TERMINAL;
    selector[2] = 1;
    // struct tc_mirred
    let mirred = [0, 0, TC_ACT_STOLEN, 0, 0, TCA_EGRESS_REDIR, to];
    let mirred = mirred.iter().flat_map(|n| n.to_ne_bytes()).collect();
    let action = nest(
        1,
        &[
            DefaultNla::new(TCA_ACT_KIND, b"mirred\0".to_vec()),
            nest(
                TCA_ACT_OPTIONS,
                &[DefaultNla::new(TCA_MIRRED_PARMS, mirred)],
            ),
        ],
    );
    let options = vec![
        TcOption::Other(DefaultNla::new(TCA_U32_SEL, selector)),
        TcOption::Other(nest(TCA_U32_ACT, &[action])),
    ];
    // The first filter of the root table, so that there is never a second one.
    let first = TcHandle {
        major: 0x8000,
        minor: 0x800,
    };
    let mut message = tc(index, first, INGRESS);
    const PRIORITY: u32 = 1;
    let every_protocol = u32::from(3_u16.to_be()); // ETH_P_ALL
    message.header.info = PRIORITY << 16 | every_protocol;
    message.attributes = vec![
        TcAttribute::Kind("u32".to_owned()),
        TcAttribute::Options(options),
    ];
    message
}
