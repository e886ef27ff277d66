//! `ClickHouse`'s own 128-bit SipHash-2-4.
//!
//! It is not the SipHash-2-4-128 of the reference implementation or of any crate: it runs the
//! 64-bit algorithm and returns `v0 ^ v1` and `v2 ^ v3` where the 64-bit result would be the XOR of
//! all four. See `SipHash.h` of `ClickHouse`, `getSipHash128AsPair`.

/// The low and the high half of the hash of `message`, with a key of zero.
pub(super) fn sip_hash_128(message: &[u8]) -> (u64, u64) {
    let mut state = SipState {
        v0: 0x736f_6d65_7073_6575,
        v1: 0x646f_7261_6e64_6f6d,
        v2: 0x6c79_6765_6e65_7261,
        v3: 0x7465_6462_7974_6573,
    };
    let (words, tail) = message.as_chunks::<8>();
    for word in words {
        state.absorb(u64::from_le_bytes(*word));
    }

    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(tail) {
        *to = *from;
    }
    let [.., length] = &mut last;
    *length = message.len().to_le_bytes()[0];
    state.absorb(u64::from_le_bytes(last));

    state.v2 ^= 0xff;
    for _ in 0..4 {
        state.round();
    }
    (state.v0 ^ state.v1, state.v2 ^ state.v3)
}

struct SipState {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl SipState {
    fn absorb(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.round();
        self.v0 ^= word;
    }

    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }
}
