//! Networks by chance: whoever takes part, as long as one honest source has all of it, all of it is fetched, each unit once.

use proptest::prelude::*;

use super::super::*;
use super::network::{MB, Manner, Network, Provider, ms};

fn manner() -> impl Strategy<Value = Manner> {
    prop_oneof![
        3 => Just(Manner::Honest),
        1 => Just(Manner::Lies),
        1 => (0..4_000_000_u64).prop_map(Manner::Hangs),
        1 => (0..4_000_000_u64).prop_map(Manner::Dies),
        1 => (0..4_000_000_u64).prop_map(Manner::Changes),
        1 => Just(Manner::Busy),
        1 => Just(Manner::Deaf),
    ]
}

prop_compose! {
    fn provider(units: u32)(
        manner in manner(),
        rate in 0.2..50.0_f64,
        rtt in 0..200_u64,
        parts in proptest::option::weighted(0.3, proptest::collection::vec(any::<u8>(), units as usize / 8 + 1)),
        relayed in proptest::bool::weighted(0.2),
    ) -> Provider {
        let have = parts.map_or(Have::All, |bytes| Have::Some(Bits::from_bytes(&bytes, units)));
        let terms = Terms { have, bytes_per_second: relayed.then_some(RELAY_FILE_RATE) };
        Provider::new(rate * MB, ms(rtt)).with(manner).at(terms)
    }
}

prop_compose! {
    fn plan()(
        sizes in proptest::collection::vec(0..3_000_000_u64, 1..30),
        unit in prop_oneof![Just(16_384_u64), Just(262_144)],
    ) -> (Units, u32) {
        let units = Units::new(unit, sizes).expect("they can be numbered");
        let count = units.count();
        (units, count)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn all_of_it_is_fetched_each_unit_once(
        (units, others, done, limit, call) in plan().prop_flat_map(|(units, count)| (
            Just(units),
            proptest::collection::vec(provider(count), 0..12),
            proptest::collection::vec(any::<u8>(), count as usize / 8 + 1),
            proptest::option::weighted(0.2, 2_000_000..20_000_000_u64),
            proptest::option::weighted(0.2, 0..2_000_u64),
        )),
    ) {
        let done = Bits::from_bytes(&done, units.count());
        let mut network = Network::new(units, &done);
        network.limit.set_rate(limit);
        if let Some(at) = call {
            network.call_in(ms(at));
        }
        network.join(0, Provider::new(2.0 * MB, ms(20)));
        for (id, provider) in (1..).zip(others) {
            network.join(id, provider);
        }
        let took = network.run(std::time::Duration::from_secs(3600));
        prop_assert!(took.is_some(), "not finished: {:?}", network.transfer.progress(network.now));
        for (unit, times) in (0..).zip(&network.stored) {
            prop_assert_eq!(*times, u32::from(!done.get(unit)));
        }
        prop_assert!(network.dropped.iter().all(|(id, ..)| *id != 0), "{:?}", network.dropped);
    }

    #[test]
    fn bits_are_the_same_in_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..40), len in 0..320_u32, from in 0..330_u32) {
        let bits = Bits::from_bytes(&bytes, len);
        let plain = |unit: u32| unit < len && bytes.get(unit as usize / 8).is_some_and(|byte| byte & (1 << (unit % 8)) != 0);
        prop_assert!((0..400).all(|unit| bits.get(unit) == plain(unit)));
        prop_assert_eq!(bits.count() as usize, (0..len).filter(|unit| plain(*unit)).count());
        prop_assert_eq!(bits.first_from(from, None), (from..len).find(|unit| plain(*unit)));
        prop_assert_eq!(&Bits::from_bytes(&bits.to_bytes(), len), &bits);
        prop_assert_eq!(bits.to_bytes().len(), (len as usize).div_ceil(8));
        let inverted = bits.inverted();
        prop_assert!((0..len).all(|unit| inverted.get(unit) != bits.get(unit)));
        prop_assert_eq!(inverted.count() + bits.count(), len);
        prop_assert_eq!(bits.iter().collect::<Vec<_>>(), (0..len).filter(|unit| plain(*unit)).collect::<Vec<_>>());
    }

    #[test]
    fn units_cover_all_bytes_once(unit in 1..5_000_u64, sizes in proptest::collection::vec(0..20_000_u64, 0..20)) {
        let units = Units::new(unit, sizes.iter().copied()).expect("they can be numbered");
        let plain: Vec<u64> = sizes.iter().flat_map(|size| {
            (0..size.div_ceil(unit)).map(move |n| (size - n * unit).min(unit))
        }).collect();
        let ours: Vec<u64> = (0..units.count()).map(|n| units.bytes(n)).collect();
        prop_assert_eq!(units.total_bytes(), ours.iter().sum::<u64>());
        prop_assert_eq!(ours, plain);
        prop_assert_eq!(units.bytes(units.count()), 0);
    }
}
