use super::*;

#[test]
fn every_file_of_the_page_is_served() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("web/demo");
    let mut in_folder: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "index.html")
        .collect();
    let mut served: Vec<_> =
        assets::PAGE_FILES.iter().map(|file| file.path.strip_prefix("/demo/").unwrap().to_owned()).collect();
    in_folder.sort();
    served.sort();
    assert_eq!(served, in_folder);
}

#[test]
fn a_file_that_is_known_is_not_sent_again() {
    let first = assets::CLIENT.answer(&HeaderMap::new());
    assert_eq!(first.status(), 200);
    assert_eq!(first.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
    let tag = first.headers()[header::ETAG].clone();

    let ask = |value: HeaderValue| {
        let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, value)]);
        assets::CLIENT.answer(&headers).status()
    };
    assert_eq!(ask(tag.clone()), 304);
    assert_eq!(ask(format!("\"x\", W/{}", tag.to_str().unwrap()).parse().unwrap()), 304);
    assert_eq!(ask(HeaderValue::from_static("\"x\"")), 200);
}

#[tokio::test]
async fn the_page_may_run_no_script_but_its_own() {
    let page = index(HeaderMap::new()).await;
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
}
