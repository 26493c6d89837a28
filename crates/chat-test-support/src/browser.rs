//! A real Chromium for one person of a test, without a window.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::environment::{HOW_TO_GET_IT, variable};
use crate::process::Process;
use crate::{wait_for, wait_until};

/// The driver starts in some milliseconds and the browser in about a second; a loaded machine gets much more.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long a page may take to show what is waited for.
const PAGE_DEADLINE: Duration = Duration::from_secs(30);

/// What the page is looked at with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// 1280 × 800.
    Desktop,
    /// 360 × 740, touched with a finger.
    Phone,
}

/// A browser with a profile of its own. Dropping it kills it.
#[derive(Debug)]
pub struct Browser {
    /// For all that has no shortcut here.
    pub client: Client,
    driver: Process,
    _folder: TempDir,
}

impl Browser {
    /// Starts a browser.
    ///
    /// # Panics
    /// When there is none, or it does not come up.
    pub async fn start(screen: Screen) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let log = folder.path().join("chromedriver.log");
        let mut command = Command::new(program("CHAT_TEST_CHROMEDRIVER"));
        // The browser's processes join the driver's group, by which they can be ended with it.
        command.arg("--port=0").process_group(0);
        let mut driver = Process::start(command, &log);
        let port = wait_for("chromedriver names its port", START_DEADLINE, async || {
            assert!(driver.ended().is_none(), "chromedriver ended:\n{}", driver.log_tail());
            port_in(&fs::read_to_string(&log).unwrap_or_default())
        })
        .await;
        let capabilities = capabilities(screen, &folder.path().join("profile"));
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities.as_object().cloned().expect("capabilities are an object"));
        let url = format!("http://127.0.0.1:{port}");
        let client = match tokio::time::timeout(START_DEADLINE, builder.connect(&url)).await {
            Ok(Ok(client)) => client,
            outcome => {
                end_group(&driver);
                panic!("Chromium did not come up: {outcome:?}\n{}", driver.log_tail());
            }
        };
        Self { client, driver, _folder: folder }
    }

    /// Loads a page.
    ///
    /// # Panics
    /// When it cannot be loaded.
    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.expect("the page loads");
    }

    /// What a script that ends with `return` gives.
    ///
    /// # Panics
    /// When the script throws.
    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until a JavaScript expression is true.
    ///
    /// # Panics
    /// When it does not get true in time; the message has the page's text.
    pub async fn until(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        let waiting = wait_until(expression, PAGE_DEADLINE * 2, async || self.run(&script).await == true);
        if tokio::time::timeout(PAGE_DEADLINE, waiting).await.is_err() {
            let text = self.run("return document.body.innerText").await;
            panic!(
                "waited {PAGE_DEADLINE:?} in vain: {expression}; the page says:\n{}",
                text.as_str().unwrap_or_default()
            );
        }
    }

    /// The element that a CSS selector names, as soon as it is there.
    ///
    /// # Panics
    /// When it does not come in time.
    pub async fn element(&self, selector: &str) -> Element {
        let waiting = self.client.wait().at_most(PAGE_DEADLINE).for_element(Locator::Css(selector));
        waiting.await.unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    /// Clicks where the element is, as a person does: it must be visible and not covered.
    ///
    /// # Panics
    /// When that is not possible in time.
    pub async fn click(&self, selector: &str) {
        self.element(selector).await;
        wait_until(&format!("{selector} can be clicked"), PAGE_DEADLINE, async || {
            // Found anew each time: the page may have replaced it.
            match self.client.find(Locator::Css(selector)).await {
                Ok(element) => element.click().await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
    }

    /// Presses keys, wherever the focus is.
    ///
    /// # Panics
    /// When nothing takes them.
    pub async fn press(&self, keys: &str) {
        let focused = self.client.active_element().await.expect("something has the focus");
        focused.send_keys(keys).await.expect("it takes keys");
    }

    /// The texts of all elements that a CSS selector names.
    pub async fn texts(&self, selector: &str) -> Vec<String> {
        let script = "return [...document.querySelectorAll(arguments[0])].map((element) => element.textContent)";
        let texts = self.client.execute(script, vec![selector.into()]).await.expect("a selector");
        serde_json::from_value(texts).expect("texts")
    }

    /// Errors that the browser has written to its console since this was asked last.
    ///
    /// # Panics
    /// When the driver does not answer.
    pub async fn errors(&self) -> Vec<String> {
        let entries = self.client.issue_cmd(ReadConsole).await.expect("the driver keeps the console");
        let entries = entries.as_array().cloned().unwrap_or_default();
        entries.iter().filter_map(|entry| entry["message"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        end_group(&self.driver);
    }
}

fn end_group(driver: &Process) {
    let group = i32::try_from(driver.id()).ok().and_then(Pid::from_raw).expect("a child has a process id");
    // It fails when all of them have ended already, which is what is wanted.
    let _ = kill_process_group(group, Signal::KILL);
}

fn program(name: &str) -> PathBuf {
    variable(name).map_or_else(|| panic!("{name} is not set; {HOW_TO_GET_IT}"), PathBuf::from)
}

fn port_in(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("started successfully on port ")?;
    rest.split_once('.')?.0.parse().ok()
}

fn capabilities(screen: Screen, profile: &Path) -> Value {
    let profile = format!("--user-data-dir={}", profile.display());
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1280,800",
        &profile,
    ];
    let mut options = json!({ "binary": program("CHAT_TEST_CHROMIUM"), "args": arguments });
    if screen == Screen::Phone {
        options["mobileEmulation"] =
            json!({ "deviceMetrics": { "width": 360, "height": 740, "pixelRatio": 2, "touch": true } });
    }
    json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "SEVERE" } })
}

/// The driver's own command for the console.
#[derive(Debug)]
struct ReadConsole;

impl WebDriverCompatibleCommand for ReadConsole {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _url: &url::Url) -> (reqwest::Method, Option<String>) {
        (reqwest::Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}
