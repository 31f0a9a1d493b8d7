//! Frames, byte by byte, also those that nobody should send.

use std::net::{Ipv4Addr, Ipv6Addr};

pub const BROADCAST: [u8; 6] = [0xff; 6];
pub const IP: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IP6: u16 = 0x86dd;

pub fn ether(to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), payload].concat()
}

/// The same frame with a VLAN tag of that type.
pub fn tagged(frame: &[u8], kind: u16, tag: u16) -> Vec<u8> {
    let tag = [kind.to_be_bytes(), tag.to_be_bytes()].concat();
    [&frame[..12], &tag, &frame[12..]].concat()
}

pub struct Arp {
    pub operation: u16,
    pub sha: [u8; 6],
    pub spa: Ipv4Addr,
    pub tpa: Ipv4Addr,
}

impl Arp {
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0, 1, 8, 0, 6, 4];
        bytes.extend(self.operation.to_be_bytes());
        bytes.extend(self.sha);
        bytes.extend(self.spa.octets());
        bytes.extend([0; 6]);
        bytes.extend(self.tpa.octets());
        bytes
    }
}

fn sum(parts: &[&[u8]]) -> u16 {
    let all = parts.concat();
    let mut sum: u32 = all
        .chunks(2)
        .map(|c| u32::from(c[0]) << 8 | c.get(1).map_or(0, |b| u32::from(*b)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

pub fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_fragment(from, to, protocol, 0, payload)
}

pub fn ipv4_fragment(
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    fragment: u16,
    payload: &[u8],
) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).unwrap();
    let mut header = vec![0x45, 0];
    header.extend(len.to_be_bytes());
    header.extend([0x12, 0x34]);
    header.extend(fragment.to_be_bytes());
    header.extend([64, protocol, 0, 0]);
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = sum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&header, payload].concat()
}

pub fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap();
    let head = [from, to, len, 0].map(u16::to_be_bytes).concat();
    [&head, payload].concat()
}

pub fn dhcp(operation: u8, client: [u8; 6]) -> Vec<u8> {
    let mut bytes = vec![operation, 1, 6, 0, 1, 2, 3, 4];
    bytes.resize(28, 0);
    bytes.extend(client);
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99, 53, 1, 1, 255]);
    bytes
}

pub fn ipv6(from: Ipv6Addr, to: Ipv6Addr, next: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend([next, hops]);
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    bytes.extend(payload);
    bytes
}

pub fn icmpv6(from: Ipv6Addr, to: Ipv6Addr, kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(rest);
    let len = u32::try_from(message.len()).unwrap().to_be_bytes();
    let sum = sum(&[&from.octets(), &to.octets(), &len, &[0, 0, 0, 58], &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// Solicitation and advertisement: flags, target, options.
pub fn discovery(target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    [&[0x60, 0, 0, 0][..], &target.octets(), options].concat()
}

pub fn address_option(kind: u8, address: [u8; 6]) -> Vec<u8> {
    [&[kind, 1][..], &address].concat()
}

/// An extension header of eight bytes that does nothing.
pub fn extension(next: u8) -> [u8; 8] {
    [next, 0, 1, 4, 0, 0, 0, 0]
}

pub fn fragment_header(next: u8, offset: u16, more: bool) -> [u8; 8] {
    let field = (offset << 3 | u16::from(more)).to_be_bytes();
    [next, 0, field[0], field[1], 0, 0, 0, 7]
}
