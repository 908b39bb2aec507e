//! Chromium, driven through WebDriver as a person would use it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::server::Running;

/// How a browser shows pages.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Without scripts, pages are only read.
    pub has_scripts: bool,
    /// Whether its user prefers dark pages.
    pub is_dark: bool,
}

impl Default for Look {
    fn default() -> Look {
        Look { has_scripts: true, is_dark: false }
    }
}

/// A browser without a window, which ends with the test.
pub struct Chromium {
    pub client: Client,
    _driver: Running,
    _profile: tempfile::TempDir,
}

impl Chromium {
    /// Starts a browser.
    pub async fn start(look: Look) -> Chromium {
        let (driver, port) = driver();
        let profile = tempfile::tempdir().expect("a folder");
        let data = format!("--user-data-dir={}", profile.path().display());
        // In a container, Chromium has neither its own sandbox nor much shared memory.
        let args = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", &data];
        let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!look.is_dark));
        let args = [&args[..], &[&scheme]].concat();
        let scripts = if look.has_scripts { 1 } else { 2 };
        let options = json!({
            "args": args,
            "prefs": { "profile.managed_default_content_settings.javascript": scripts },
        });
        let capabilities = json!({ "goog:chromeOptions": options, "timeouts": { "pageLoad": 30000 } });
        let Value::Object(capabilities) = capabilities else { unreachable!("an object") };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a browser");
        Chromium { client, _driver: driver, _profile: profile }
    }

    /// Opens a page.
    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.expect("a page");
    }

    /// The visible text of the page.
    pub async fn text(&self) -> String {
        self.find("body").await.text().await.expect("text")
    }

    /// The first element that a CSS selector finds. Waits for it.
    pub async fn find(&self, css: &str) -> Element {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
        match found {
            Ok(element) => element,
            Err(error) => {
                let source = self.client.source().await.unwrap_or_default();
                panic!("{css}: {error}; the page is {source}");
            }
        }
    }

    /// The field with this label, found as a screen reader finds it.
    pub async fn field(&self, label: &str) -> Element {
        let path = format!(
            "//*[self::input or self::select or self::textarea]\
             [@id=//label[normalize-space()='{label}']/@for or ancestor::label[contains(normalize-space(),'{label}')]]"
        );
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::XPath(&path)).await;
        found.unwrap_or_else(|error| panic!("the field {label}: {error}"))
    }

    /// Types into the field with this label, in place of what is there.
    pub async fn fill(&self, label: &str, text: &str) {
        let field = self.field(label).await;
        field.clear().await.expect("cleared");
        field.send_keys(text).await.expect("typed");
    }

    /// Presses the first button with this text, and waits for the next page.
    pub async fn press(&self, text: &str) {
        self.click(&format!("//button[normalize-space()='{text}']")).await;
    }

    /// Follows the first link with this text.
    pub async fn follow(&self, text: &str) {
        self.click(&format!("//a[normalize-space()='{text}']")).await;
    }

    async fn click(&self, path: &str) {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::XPath(path)).await;
        let element = match found {
            Ok(element) => element,
            Err(error) => panic!("{path}: {error}; the page says {}", self.text().await),
        };
        element.click().await.unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Makes a picture of the page, as wide as this and as high as the page is.
    pub async fn picture(&self, width: u32, file: &Path) {
        self.client.set_window_size(width, 900).await.expect("resized");
        let height = self.client.execute("return document.documentElement.scrollHeight", Vec::new()).await;
        let height = height.expect("a height").as_u64().expect("a number").clamp(400, 1600);
        self.client.set_window_size(width, height as u32 + 140).await.expect("resized");
        let png = self.client.screenshot().await.expect("a picture");
        std::fs::write(file, png).expect("written");
    }

    /// What axe-core finds wrong for people who see or hear little: rules of WCAG 2.1 A and AA.
    /// `axe` is the file that `tests/run` fetches.
    pub async fn violations(&self, axe: &Path) -> Vec<String> {
        let axe = std::fs::read_to_string(axe).expect("tests/run fetches axe-core");
        self.client.execute(&axe, Vec::new()).await.expect("axe-core runs");
        let script = "const done = arguments[arguments.length - 1];
            const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'];
            axe.run({ runOnly: { type: 'tag', values: tags } }).then(
                found => done(found.violations.flatMap(one => one.nodes.map(
                    node => one.id + ': ' + node.html + ' ' + node.failureSummary))),
                error => done(['axe failed: ' + error]));";
        let found = self.client.execute_async(script, Vec::new()).await.expect("axe-core answers");
        let found = found.as_array().expect("a list").iter();
        found.map(|one| one.as_str().expect("text").to_owned()).collect()
    }

    /// Ends the browser.
    pub async fn close(self) {
        self.client.clone().close().await.expect("closed");
    }
}

fn driver() -> (Running, u16) {
    let mut command = Command::new("chromedriver");
    command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("tests/run installs chromium-driver");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let port = loop {
        let line = lines.next().expect("the driver starts").expect("text");
        if let Some((_, port)) = line.rsplit_once("on port ").filter(|_| line.contains("successfully")) {
            break port.trim_end_matches('.').parse().expect("a port");
        }
    };
    // Otherwise the pipe fills, and the driver waits.
    std::thread::spawn(move || lines.for_each(drop));
    (Running(child), port)
}
