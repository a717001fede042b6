//! Many processes that start a server at once: exactly one server serves.

#[cfg(unix)]
use super::roles::PATIENCE;
use super::roles::{Scene, Talker};
#[cfg(unix)]
use msgpipe::Responder;

/// The processes that connect at once.
const CROWD: usize = 20;

/// The rounds; `MSGPIPE_START_ROUNDS` sets another number, as 100.
const ROUNDS: usize = 10;

fn rounds() -> usize {
    let set = std::env::var("MSGPIPE_START_ROUNDS").ok();
    set.map_or(ROUNDS, |rounds| rounds.parse().unwrap())
}

fn crowd(scene: &Scene) -> Vec<Talker> {
    let mut crowd: Vec<Talker> = (0..CROWD).map(|_| scene.talker("client")).collect();
    for talker in &mut crowd {
        assert_eq!(talker.says(), "ready");
    }
    crowd
}

/// All connect; returns the number of the process that they reach.
fn reached(crowd: &mut [Talker], scene: &Scene) -> String {
    crowd.iter_mut().for_each(|talker| talker.order(&scene.name));
    let said: Vec<String> = crowd.iter_mut().map(Talker::says).collect();
    assert!(said.iter().all(|pid| *pid == said[0] && pid.parse::<u32>().is_ok()), "{said:?}");
    said[0].clone()
}

#[test]
fn of_many_that_start_at_once_exactly_one_server_serves() {
    let scene = Scene::new();
    let mut crowd = crowd(&scene);
    let rounds = rounds();
    for round in 1..=rounds {
        reached(&mut crowd, &scene);
        scene.stop();
        assert_eq!(scene.noted_so("bound"), round, "{:?}", scene.noted());
    }
    println!("{rounds} rounds of {CROWD} processes: {} servers started", scene.noted().len());
}

/// A process that holds the lock and hangs: the others wait for half of their time, and then the bind decides.
#[cfg(unix)]
#[test]
fn without_the_lock_the_bind_decides() {
    use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
    let scene = Scene::new();
    let socket = msgpipe::Endpoint::name(&scene.name).unwrap().locate().unwrap();
    let path = socket.with_file_name(format!(".{}.sock.msgpipe-start", scene.name));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let held = open(&path, OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RWXU).unwrap();
    flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    let (waiting, stop) = super::lives::gate(&scene);
    let mut crowd: Vec<Talker> = (0..CROWD).map(|_| scene.talker("impatient client")).collect();
    for talker in &mut crowd {
        assert_eq!(talker.says(), "ready");
    }
    crowd.iter_mut().for_each(|talker| talker.order(&scene.name));
    let starting: Vec<Responder> =
        (0..CROWD).map(|_| waiting.recv_timeout(PATIENCE).unwrap()).collect();
    starting.into_iter().for_each(|responder| responder.reply("go"));
    let said: Vec<String> = crowd.iter_mut().map(Talker::says).collect();
    assert!(said.iter().all(|pid| *pid == said[0] && pid.parse::<u32>().is_ok()), "{said:?}");
    while scene.noted_so("bound") + scene.noted_so("already served") < CROWD {
        std::thread::yield_now();
    }
    assert_eq!(scene.noted_so("bound"), 1, "{:?}", scene.noted());
    stop();
    std::fs::remove_file(&path).unwrap();
}
