//! Frames as bytes, also those that nobody should send.

use std::net::Ipv4Addr;

/// A hardware address.
pub type Mac = [u8; 6];

/// An Ethernet frame of that type from one address to another.
pub fn ethernet((from, to): (Mac, Mac), kind: &[u8], payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, kind, payload].concat()
}

/// An Ethernet frame with a UDP packet; of each pair, the sender's is the first.
pub fn udp(
    macs: (Mac, Mac),
    ips: (Ipv4Addr, Ipv4Addr),
    ports: (u16, u16),
    payload: &[u8],
) -> Vec<u8> {
    let length = 28 + payload.len() as u16;
    let mut ip = vec![0x45, 0];
    ip.extend(length.to_be_bytes());
    ip.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    ip.extend(ips.0.octets());
    ip.extend(ips.1.octets());
    let words = ip
        .chunks(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    ip[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    for port in [ports.0, ports.1] {
        ip.extend(port.to_be_bytes());
    }
    ip.extend((8 + payload.len() as u16).to_be_bytes());
    ip.extend([0, 0]);
    ip.extend(payload);
    ethernet(macs, &[8, 0], &ip)
}

/// A DHCP client with the address `client` looks for a server, in a frame from `from`.
pub fn dhcp_discover(from: Mac, client: Mac) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0];
    message.extend(&client[2..]);
    message.resize(28, 0);
    message.extend(client);
    message.resize(236, 0);
    // The magic number, DHCPDISCOVER, the end.
    message.extend([99, 130, 83, 99, 53, 1, 1, 255]);
    // What some servers take for the shortest message there is.
    message.resize(300, 0);
    let ips = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    udp((from, [0xff; 6]), ips, (68, 67), &message)
}
