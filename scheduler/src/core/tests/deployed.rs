//! Deployed operators: what a run pins, who runs it, and who gets ready for it.

use super::*;

/// Their hashes begin with ca97 (a), 3e23 (b).
fn catalog(classes: &[(&str, &str)]) -> Input {
    let entry = |(class, component): &(&str, &str)| {
        let hash = ComponentHash::of(component.as_bytes());
        ((*class).to_owned(), hash)
    };
    Input::SetCatalog(classes.iter().map(entry).collect())
}

fn pinned(cluster: &Cluster) -> Vec<String> {
    let pinned = cluster.core.pinned();
    let shown = pinned
        .iter()
        .map(|(hash, runs)| format!("{} {runs:?}", hash.short()));
    shown.collect()
}

#[test]
fn every_worker_gets_ready_once_and_can_run_what_is_deployed() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    check(
        &show(&cluster.step(catalog(&[("Mine", "a")]))),
        expect![[r"
            prepare ca978112ca1b on w1
            prepare ca978112ca1b on w2
        "]],
    );
    check(&show(&cluster.step(catalog(&[("Mine", "a")]))), expect![""]);
    check(
        &cluster.beat("w3", 1, ""),
        expect![[r"
        prepare ca978112ca1b on w3
        w3 appeared
        registered true
    "]],
    );
    check(
        &cluster.submit("Mine A"),
        expect![[r#"
        run 1 submitted: app on "13", assigned to w1 → w2
        send 1/1/0 to w1 of w1 w2 with []
        accepted 1
    "#]],
    );
}

#[test]
fn a_run_keeps_what_was_deployed_when_it_was_submitted() {
    let mut cluster = Cluster::with(&["w1"]);
    cluster.step(catalog(&[("Mine", "a")]));
    cluster.submit("A Mine");
    cluster.step(catalog(&[("Mine", "b")]));
    cluster.submit("A Mine");
    let component = |run: RunNumber| {
        let run = cluster.core.run(run).unwrap();
        run.stages[1].spec.component
    };
    assert_eq!(component(1), Some(ComponentHash::of(b"a")));
    assert_eq!(component(2), Some(ComponentHash::of(b"b")));
    check(
        &pinned(&cluster).join("\n"),
        expect![[r"
        3e23e8160039 {2}
        ca978112ca1b {1}"]],
    );
    cluster.done("1/1/0", "w1");
    cluster.done("1/1/1", "w1");
    check(&pinned(&cluster).join("\n"), expect!["3e23e8160039 {2}"]);
}

#[test]
fn a_worker_that_is_not_ready_gets_ready_while_the_stage_before_runs() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.step(catalog(&[("Mine", "a")]));
    for worker in ["w1", "w2"] {
        cluster.step(Input::PrepareFailed {
            worker: worker.to_owned(),
            component: ComponentHash::of(b"a"),
        });
    }
    check(
        &cluster.submit("A Mine"),
        expect![[r#"
        run 1 submitted: app on "13", assigned to w1 → w2
        send 1/1/0 to w1 of w1 w2 with []
        prepare ca978112ca1b on w2
        accepted 1
    "#]],
    );
}

#[test]
fn without_warm_up_nobody_is_told() {
    let mut cluster = Cluster::with(&["w1", "w2"]);
    cluster.core.warms_up = false;
    check(&show(&cluster.step(catalog(&[("Mine", "a")]))), expect![""]);
    check(
        &cluster.submit("A Mine"),
        expect![[r#"
        run 1 submitted: app on "13", assigned to w1 → w2
        send 1/1/0 to w1 of w1 w2 with []
        accepted 1
    "#]],
    );
}
