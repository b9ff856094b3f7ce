use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::super::tests::{bad_route, route, short};
use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// Polls so rarely that a test would notice.
const BY_EVENTS: Cadence = Cadence { poll: Duration::from_secs(3600), ..CADENCE };
/// Polls often.
const BY_POLLING: Cadence = Cadence { poll: Duration::from_millis(50), ..CADENCE };

struct Watched {
    folder: TempDir,
    routes: Routes,
    shutdown: CancellationToken,
}

impl Watched {
    /// Follows a folder with one route in `routes.yaml`, or that file where `file` says so.
    fn new(file: bool, cadence: Cadence) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.yaml");
        fs::write(&path, route("a", "v1")).unwrap();
        let shutdown = CancellationToken::new();
        let routes = follow(if file { &path } else { folder.path() }, cadence, shutdown.clone());
        assert_eq!(short(&routes.workloads().borrow()), ["a=v1"]);
        Self { folder, routes, shutdown }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    async fn becomes(&self, expected: &[&str]) {
        let mut workloads = self.routes.workloads();
        let reached = workloads.wait_for(|workloads| short(workloads) == expected);
        let reached = tokio::time::timeout(DEADLINE, reached).await.map(drop);
        let now = short(&self.routes.workloads().borrow());
        reached.unwrap_or_else(|_| panic!("{expected:?} did not come; there is {now:?}"));
    }

    async fn has_problems(&self, count: usize) {
        let mut problems = self.routes.problems();
        let reached = problems.wait_for(|problems| problems.len() == count);
        tokio::time::timeout(DEADLINE, reached).await.expect("the problems did not come").unwrap();
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.routes.finished()).await.expect("following does not end");
    }
}

#[tokio::test]
async fn a_file_written_in_place_is_taken_up() {
    for file in [true, false] {
        let watched = Watched::new(file, BY_EVENTS);
        watched.write("routes.yaml", route("a", "v2") + &route("b", "v1"));
        watched.becomes(&["a=v2", "b=v1"]).await;
        watched.write("routes.yaml", route("b", "v1"));
        watched.becomes(&["b=v1"]).await;
        watched.stop().await;
    }
}

#[tokio::test]
async fn a_file_replaced_by_renaming_is_taken_up() {
    for file in [true, false] {
        let watched = Watched::new(file, BY_EVENTS);
        for version in ["v2", "v3"] {
            watched.write(".routes.yaml.tmp", route("a", version));
            fs::rename(watched.path(".routes.yaml.tmp"), watched.path("routes.yaml")).unwrap();
            watched.becomes(&[&format!("a={version}")]).await;
        }
        watched.stop().await;
    }
}

#[tokio::test]
async fn a_file_written_by_an_editor_is_taken_up() {
    for file in [true, false] {
        let watched = Watched::new(file, BY_EVENTS);
        // As vim does: the old file becomes a backup, the new one is written under its name.
        fs::rename(watched.path("routes.yaml"), watched.path("routes.yaml~")).unwrap();
        watched.write("routes.yaml", route("a", "v2"));
        fs::remove_file(watched.path("routes.yaml~")).unwrap();
        watched.becomes(&["a=v2"]).await;
        watched.stop().await;
    }
}

#[tokio::test]
async fn files_that_come_and_go_are_taken_up() {
    let watched = Watched::new(false, BY_EVENTS);
    watched.write("more.yml", route("b", "v1"));
    watched.becomes(&["a=v1", "b=v1"]).await;
    fs::remove_file(watched.path("routes.yaml")).unwrap();
    watched.becomes(&["b=v1"]).await;
    watched.stop().await;
}

#[tokio::test]
async fn a_config_map_swapped_by_its_link_is_taken_up() {
    for file in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let version = |name: &str| {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("routes.yaml"), route("a", name.trim_start_matches('.'))).unwrap();
        };
        version("..v1");
        symlink("..v1", folder.path().join("..data")).unwrap();
        let path = folder.path().join("routes.yaml");
        symlink("..data/routes.yaml", &path).unwrap();
        let shutdown = CancellationToken::new();
        let routes = follow(if file { &path } else { folder.path() }, BY_EVENTS, shutdown.clone());
        let watched = Watched { folder, routes, shutdown };
        watched.becomes(&["a=v1"]).await;
        // As the kubelet does.
        fs::create_dir(watched.path("..v2")).unwrap();
        watched.write("..v2/routes.yaml", route("a", "v2"));
        symlink("..v2", watched.path("..data_tmp")).unwrap();
        fs::rename(watched.path("..data_tmp"), watched.path("..data")).unwrap();
        fs::remove_dir_all(watched.path("..v1")).unwrap();
        watched.becomes(&["a=v2"]).await;
        watched.has_problems(0).await;
        watched.stop().await;
    }
}

#[tokio::test]
async fn what_no_event_tells_of_is_found_by_polling() {
    let elsewhere = tempfile::tempdir().unwrap();
    let real = elsewhere.path().join("real.yaml");
    fs::write(&real, route("a", "v1")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("routes.yaml");
    symlink(&real, &path).unwrap();
    let shutdown = CancellationToken::new();
    let routes = follow(&path, BY_POLLING, shutdown.clone());
    let watched = Watched { folder, routes, shutdown };
    fs::write(&real, route("a", "v2")).unwrap();
    watched.becomes(&["a=v2"]).await;
    watched.stop().await;
}

#[tokio::test]
async fn a_folder_that_is_not_there_yet_is_read_when_it_is() {
    let above = tempfile::tempdir().unwrap();
    let path = above.path().join("routes");
    let shutdown = CancellationToken::new();
    let routes = follow(&path, BY_POLLING, shutdown.clone());
    let watched = Watched { folder: above, routes, shutdown };
    watched.has_problems(1).await;
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), route("a", "v1")).unwrap();
    watched.becomes(&["a=v1"]).await;
    watched.has_problems(0).await;
    // Made anew, it is another folder.
    fs::remove_dir_all(&path).unwrap();
    watched.has_problems(1).await;
    watched.becomes(&["a=v1"]).await;
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), route("a", "v2")).unwrap();
    watched.becomes(&["a=v2"]).await;
    watched.stop().await;
}

#[tokio::test]
async fn a_spoilt_file_takes_no_route_away() {
    let watched = Watched::new(true, BY_EVENTS);
    watched.write("routes.yaml", bad_route("a") + &route("b", "v1"));
    watched.becomes(&["a=v1", "b=v1"]).await;
    watched.has_problems(1).await;
    watched.write("routes.yaml", "kind: [");
    watched.has_problems(1).await;
    watched.write("routes.yaml", route("a", "v2"));
    watched.becomes(&["a=v2"]).await;
    watched.has_problems(0).await;
    watched.stop().await;
}

#[tokio::test]
async fn a_change_that_changes_no_workload_wakes_nobody() {
    let watched = Watched::new(false, BY_EVENTS);
    let mut workloads = watched.routes.workloads();
    workloads.mark_unchanged();
    watched.write("routes.yaml", "# said anew\n".to_owned() + &route("a", "v1"));
    watched.write("spoilt.yaml", "kind: [");
    watched.has_problems(1).await;
    assert!(!workloads.has_changed().unwrap());
    watched.stop().await;
}

#[tokio::test]
async fn following_ends_when_nobody_looks() {
    let Watched { routes, folder: _folder, shutdown: _shutdown } = Watched::new(false, BY_EVENTS);
    tokio::time::timeout(DEADLINE, routes.finished()).await.expect("following does not end");
}

#[test]
fn changes_are_named_and_long_lists_are_cut() {
    let read = |text: String| super::super::parse(&text, "routes").workloads;
    let before = read(route("a", "v1") + &route("b", "v1") + &route("c", "v1"));
    let after = read(route("b", "v2") + &route("c", "v1") + &route("d", "v1"));
    let changes = Changes::between(&before, &after);
    assert_eq!(changes.added, ["default/d"]);
    assert_eq!(changes.changed, ["default/b"]);
    assert_eq!(changes.removed, ["default/a"]);
    let many: Vec<_> = (0..12).map(|number| number.to_string()).collect();
    assert_eq!(names(&many), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more");
    assert_eq!(names(&[]), "none");
}

#[test]
fn reading_a_file_does_not_cause_reading_it() {
    let event = |kind, name: &str| notify::Event::new(kind).add_path(PathBuf::from("/x").join(name));
    let file = Some(OsStr::new("routes.yaml"));
    let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    assert!(!concerns(&event(open, "routes.yaml"), file));
    assert!(concerns(&event(written, "routes.yaml"), file));
    assert!(concerns(&event(EventKind::Any, "..data"), file));
    assert!(!concerns(&event(EventKind::Any, "noise.log"), file), "a noisy neighbour causes nothing");
    assert!(concerns(&event(EventKind::Any, "anything"), None));
    assert!(concerns(&notify::Event::new(EventKind::Other), file), "an event without a path may be any");
}
