use super::*;
use std::time::Instant;
#[test]
fn speed() {
    let size = 1024 * MIB;
    let dir = folder();
    let path = write(&dir.path().join("big"), &content(size, 1));
    let ob = dir.path().join("ob");
    let rate =
        |what: &str, start: Instant| println!("{what}: {:.0} MB/s", size as f64 / 1e6 / start.elapsed().as_secs_f64());
    for _ in 0..3 {
        let start = Instant::now();
        add_file(&path, &ob, &mut quietly).unwrap();
        rate("add", start);
    }
    let added = add_file(&path, &ob, &mut quietly).unwrap();
    let served = Served::open(&path, Some(&outboard_path(&ob, added.hash)), added.hash, Some(added.stat)).unwrap();
    let mut buf = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        for unit in 0..1024 {
            buf.clear();
            served.encode(unit * MIB..(unit + 1) * MIB, &mut buf).unwrap();
        }
        rate("encode", start);
    }
    for round in 0..3 {
        let target = dir.path().join(format!("t{round}"));
        let layout = Layout::file(added.hash, size).unwrap();
        let (partial, _) = Partial::create_or_open(&target, added.hash, layout).unwrap();
        partial.allocate().unwrap();
        let (mut spent, mut verify) = (0.0, 0.0);
        for unit in 0..1024 {
            buf.clear();
            let range = u64::from(unit) * MIB..u64::from(unit + 1) * MIB;
            served.encode(range.clone(), &mut buf).unwrap();
            let start = Instant::now();
            let v = crate::tree::verify(added.hash, size, range, &buf).unwrap();
            verify += start.elapsed().as_secs_f64();
            drop(v);
            let start = Instant::now();
            partial.store(unit, &buf).unwrap();
            spent += start.elapsed().as_secs_f64();
        }
        println!("verify {:.0} MB/s, store {:.0} MB/s", size as f64 / 1e6 / verify, size as f64 / 1e6 / spent);
        let start = Instant::now();
        let bits = partial.recheck(None, &mut quietly).unwrap();
        assert!(bits.is_full());
        rate("recheck", start);
        let start = Instant::now();
        let path = partial.finish("x").unwrap();
        println!("finish {:?}", start.elapsed());
        fs::remove_file(path).unwrap();
    }
    let key = crate::copy_key(&kith_common::file::CopyKey([1; 32]), added.hash);
    let start = Instant::now();
    crate::add_sealed(&path, &key, added.hash, &ob, &mut quietly).unwrap();
    rate("add_sealed", start);
    let start = Instant::now();
    fs::create_dir(dir.path().join("small")).unwrap();
    for n in 0..20_000 {
        fs::write(dir.path().join(format!("small/{n}")), [1; 4000]).unwrap();
    }
    println!("make 20000: {:?}", start.elapsed());
    let start = Instant::now();
    crate::add_folder(&dir.path().join("small"), &ob, &mut |_| ControlFlow::Continue(())).unwrap();
    println!("add_folder 20000: {:?}", start.elapsed());
}
