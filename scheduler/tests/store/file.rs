//! What the store in memory promises with a file.

use std::os::unix::fs::symlink;

use plimsoll_scheduler::store::{MemoryStore, Revision, Store, StoreError, StoreHealth};
use plimsoll_testkit::Folder;

use super::directives::directives;
use super::plans::{leads, plan};

#[tokio::test]
async fn a_restart_goes_on_from_the_file() {
    let folder = Folder::new("state").unwrap();
    let path = folder.join("state.json");
    let first = MemoryStore::with_file(&path).unwrap();
    let campaign = first.campaign("manager-a");
    let term = leads(&campaign).await;
    let revision = first.commit(&plan(1, 3, 30), Revision::default(), &term).await.unwrap();
    first.commit(&plan(2, 3, 30), revision, &term).await.unwrap();
    first.change_directives(&directives(1, 10), Revision::default()).await.unwrap();
    let (stored, asked) = (first.load().await.unwrap(), first.load_directives().await.unwrap());
    campaign.resign().await;
    drop(first);
    let next = MemoryStore::with_file(&path).unwrap();
    assert_eq!(next.load().await.unwrap(), stored);
    assert_eq!(next.load_directives().await.unwrap(), asked);
    let told = next.watch_assignment("collector-1").borrow().clone();
    assert_eq!(*told, plan(2, 3, 30).assignment("collector-1"));
    let campaign = next.campaign("manager-a");
    let term = leads(&campaign).await;
    next.commit(&plan(3, 3, 30), stored.revision, &term).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_changes_nothing_and_is_told() {
    let folder = Folder::new("state").unwrap();
    let path = folder.join("state.json");
    let store = MemoryStore::with_file(&path).unwrap();
    let campaign = store.campaign("manager-a");
    let term = leads(&campaign).await;
    let revision = store.commit(&plan(1, 3, 30), Revision::default(), &term).await.unwrap();
    // The kernel's own full disk, where the next state is written to.
    symlink("/dev/full", folder.join("state.json.new")).unwrap();
    let refused = store.commit(&plan(2, 3, 30), revision, &term).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable { reason, .. }) if reason.contains("space")), "{refused:?}");
    let health = store.health().borrow().clone();
    assert!(matches!(&health, StoreHealth::Away { reason, .. } if reason.contains("state.json")), "{health:?}");
    assert_eq!(store.load().await.unwrap().plan, plan(1, 3, 30));
    // There is room again.
    store.commit(&plan(2, 3, 30), revision, &term).await.unwrap();
    assert_eq!(*store.health().borrow(), StoreHealth::Connected);
    campaign.resign().await;
    drop(store);
    assert_eq!(MemoryStore::with_file(&path).unwrap().load().await.unwrap().plan, plan(2, 3, 30));
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_named_and_left_alone() {
    let folder = Folder::new("state").unwrap();
    for (name, content) in [("half.json", r#"{"format":1,"plan"#), ("newer.json", NEWER), ("empty.json", "")] {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        let refused = MemoryStore::with_file(&path).unwrap_err();
        assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused:?}");
        assert!(refused.to_string().contains(name), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }
    let nowhere = MemoryStore::with_file(&folder.join("no/such/folder.json")).unwrap_err();
    assert!(matches!(nowhere, StoreError::BadSetting { .. }), "{nowhere:?}");
    let path = folder.join("one.json");
    let _first = MemoryStore::with_file(&path).unwrap();
    let second = MemoryStore::with_file(&path).unwrap_err();
    assert!(second.to_string().contains("another process"), "{second}");
}

const NEWER: &str =
    r#"{"format":2,"planRevision":1,"plan":{"generation":1,"topics":{}},"directivesRevision":0,"directives":{}}"#;
