//! The demo page in a real browser, against the whole system.

use chat_domain::ChannelId;
use chat_test_support::browser::{Browser, Screen};
use chat_test_support::system::{System, TestUser};

/// What WebDriver calls these keys.
const ENTER: &str = "\u{e007}";
const TAB: &str = "\u{e004}";
/// More than there are stops on the page.
const MOST_TABS: usize = 40;

const IS_ONLINE: &str = "document.body.dataset.connection === 'online'";

/// Two instances, one channel, and its two members.
struct Stage {
    system: System,
    alice: TestUser,
    bob: TestUser,
    channel: ChannelId,
}

impl Stage {
    async fn set() -> Self {
        let system = System::builder().demo().websocket_servers(2).start().await;
        let (alice, bob) = (system.user("alice").await, system.user("bob").await);
        let channel = alice.api.create_channel("GROUP", "Lunch", &[bob.id]).await;
        Self { system, alice, bob, channel }
    }

    /// The page as this person sees it, with the channel open, on instance 1 or 2.
    async fn page_of(&self, name: &str, instance: usize) -> Browser {
        let browser = self.sign_in(Screen::Desktop, name, instance).await;
        open_channel(&browser, self.channel).await;
        browser
    }

    async fn sign_in(&self, screen: Screen, name: &str, instance: usize) -> Browser {
        let browser = Browser::start(screen).await;
        browser.open(&format!("{}/?instance={instance}", self.system.http_url(0))).await;
        browser.until("document.querySelectorAll('.person').length === 4").await;
        let person = ["alice", "bob", "carol", "dave"].iter().position(|one| *one == name).unwrap() + 1;
        browser.click(&format!("#people li:nth-child({person}) .person")).await;
        browser.until(IS_ONLINE).await;
        browser
    }

    async fn say(&self, user: &TestUser, text: &str) {
        user.api.send(self.channel, text).await;
    }
}

async fn open_channel(browser: &Browser, channel: ChannelId) {
    browser.click(&format!(".channel[href='#/c/{channel}']")).await;
    browser.until("document.querySelector('#history-state').textContent !== 'Loading…'").await;
}

async fn shows(browser: &Browser, text: &str) {
    let text = serde_json::to_string(text).unwrap();
    browser
        .until(&format!("[...document.querySelectorAll('.message-text')].some((one) => one.textContent === {text})"))
        .await;
}

/// Every message on screen, from top to bottom.
async fn messages(browser: &Browser) -> Vec<String> {
    browser.texts(".message-text").await
}

fn numbered(word: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{word} {number}")).collect()
}

#[tokio::test]
async fn two_people_on_two_instances_talk() {
    let stage = Stage::set().await;
    let (alice, bob) = tokio::join!(stage.page_of("alice", 1), stage.page_of("bob", 2));
    assert_eq!(alice.texts("#connection-instance").await, ["Instance 1"]);
    assert_eq!(bob.texts("#connection-instance").await, ["Instance 2"]);

    alice.element("#composer-text").await.send_keys(&format!("Are you there?{ENTER}")).await.unwrap();
    shows(&bob, "Are you there?").await;
    let attack = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>";
    bob.element("#composer-text").await.send_keys(&format!("{attack}{ENTER}")).await.unwrap();
    shows(&alice, attack).await;
    shows(&bob, attack).await;

    for page in [&alice, &bob] {
        page.until("!document.querySelector('.message.pending')").await;
        assert_eq!(messages(page).await, ["Are you there?", attack]);
        assert_eq!(
            page.run("return document.querySelectorAll('#conversation img, #conversation script').length").await,
            0
        );
        assert_eq!(page.run("return document.title").await, "Chat");
        assert_eq!(page.errors().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_new_conversation_shows_up_with_what_is_unread() {
    let stage = Stage::set().await;
    let bob = stage.sign_in(Screen::Desktop, "bob", 2).await;
    bob.until("document.querySelectorAll('.channel').length === 1").await;

    let channel = stage.alice.api.create_channel("PRIVATE", "Surprise", &[stage.bob.id]).await;
    stage.alice.api.send(channel, "psst").await;
    let item = format!("document.querySelector(\".channel[href='#/c/{channel}']\")");
    bob.until(&format!("{item}?.querySelector('.badge:not([hidden])')?.textContent === '1'")).await;
    assert_eq!(bob.run("return document.title").await, "(1) Chat");

    open_channel(&bob, channel).await;
    shows(&bob, "psst").await;
    bob.until(&format!("{item}.querySelector('.badge').hidden && document.title === 'Chat'")).await;
}

#[tokio::test]
async fn who_was_offline_misses_nothing_and_sees_nothing_twice() {
    let stage = Stage::set().await;
    let bob = stage.page_of("bob", 2).await;
    stage.say(&stage.alice, "before 0").await;
    shows(&bob, "before 0").await;

    bob.click("#connection").await;
    bob.click("#dialog .dialog-foot .button:not(.primary)").await;
    bob.until("document.body.dataset.connection === 'closed'").await;
    bob.click("#dialog .dialog-foot .button.primary").await;
    for text in numbered("missed", 0..7) {
        stage.say(&stage.alice, &text).await;
    }
    assert_eq!(messages(&bob).await, ["before 0"]);

    bob.click("#try-now").await;
    shows(&bob, "missed 6").await;
    stage.say(&stage.alice, "after 0").await;
    shows(&bob, "after 0").await;
    assert_eq!(
        messages(&bob).await,
        [numbered("before", 0..1), numbered("missed", 0..7), numbered("after", 0..1)].concat()
    );
}

#[tokio::test]
async fn the_page_moves_on_when_its_instance_dies_and_comes_back_when_all_were_dead() {
    let mut stage = Stage::set().await;
    let bob = stage.page_of("bob", 2).await;
    stage.say(&stage.alice, "message 0").await;
    shows(&bob, "message 0").await;

    stage.system.websocket_server(1).kill();
    stage.say(&stage.alice, "message 1").await;
    shows(&bob, "message 1").await;
    bob.until("document.querySelector('#connection-instance').textContent === 'Instance 1'").await;

    stage.system.websocket_server(0).kill();
    bob.until("!document.querySelector('#offline-note').hidden").await;
    for text in numbered("message", 2..6) {
        stage.say(&stage.alice, &text).await;
    }
    stage.system.websocket_server(1).restart().await;
    shows(&bob, "message 5").await;
    assert_eq!(messages(&bob).await, numbered("message", 0..6));
}

#[tokio::test]
async fn the_instance_can_be_chosen_and_is_kept() {
    let stage = Stage::set().await;
    let bob = stage.page_of("bob", 2).await;
    bob.click("#connection").await;
    bob.click("#dialog .choice:nth-of-type(1) input").await;
    bob.until("document.querySelector('#connection-instance').textContent === 'Instance 1'").await;
    bob.until(IS_ONLINE).await;
    stage.say(&stage.alice, "hello on the other side").await;
    shows(&bob, "hello on the other side").await;
}

#[tokio::test]
async fn a_message_that_could_not_be_sent_stays_and_can_be_sent_again() {
    let mut stage = Stage::set().await;
    let bob = stage.page_of("bob", 2).await;
    stage.system.message_server(0).kill();
    bob.element("#composer-text").await.send_keys(&format!("is anybody there?{ENTER}")).await.unwrap();
    bob.until("document.querySelector('.message.pending')").await;
    bob.until("document.querySelector('.message.failed')").await;

    stage.system.message_server(0).restart().await;
    bob.click(".message.failed .link-button").await;
    bob.until("document.querySelector('.message.own:not(.failed, .pending)')").await;
    assert_eq!(messages(&bob).await, ["is anybody there?"]);
    let events = stage.alice.api.events(stage.channel, 0, 100).await;
    assert_eq!(events.iter().filter(|event| event["type"] == "MESSAGE").count(), 1);
}

#[tokio::test]
async fn a_closed_channel_is_read_only_and_a_lost_one_disappears() {
    let stage = Stage::set().await;
    let lost = stage.alice.api.create_channel("PRIVATE", "Secret", &[stage.bob.id]).await;
    let bob = stage.page_of("bob", 2).await;
    stage.say(&stage.alice, "last words").await;
    shows(&bob, "last words").await;

    let path = format!("/api/v1/channels/{}", stage.channel);
    assert_eq!(stage.alice.api.call(reqwest::Method::DELETE, &path, None).await.status, 204);
    bob.until("document.querySelector('#composer').hidden && !document.querySelector('#cannot-write').hidden").await;
    assert_eq!(messages(&bob).await, ["last words"]);

    open_channel(&bob, lost).await;
    stage.alice.api.remove_member(lost, stage.bob.id).await;
    bob.until("document.querySelectorAll('.channel').length === 1 && document.querySelector('#conversation').hidden")
        .await;
}

#[tokio::test]
async fn older_messages_are_loaded_on_the_way_up_and_the_view_stays_where_it_is() {
    let stage = Stage::set().await;
    for text in numbered("line", 0..120) {
        stage.say(&stage.alice, &text).await;
    }
    let bob = stage.page_of("bob", 1).await;
    shows(&bob, "line 119").await;
    let at_end = "Math.abs(scroller.scrollHeight - scroller.clientHeight - scroller.scrollTop) < 2";
    bob.until(at_end).await;
    assert_eq!(messages(&bob).await, numbered("line", 70..120));

    // The topmost one changes its looks when others come above it, so the second is watched.
    let place = "[...document.querySelectorAll('.message')].find((one) => one.textContent.includes('line 71')).getBoundingClientRect().top";
    let before = bob.run(&format!("scroller.scrollTop = 150; return {place}")).await.as_f64().unwrap();
    bob.until("document.querySelectorAll('.message').length === 100").await;
    let after = bob.run(&format!("return {place}")).await.as_f64().unwrap();
    assert!((after - before).abs() < 2.0, "it was at {before} and is at {after}");

    bob.run("scroller.scrollTop = 0").await;
    bob.until("document.querySelector('#history-state').textContent === 'This is where it began'").await;
    assert_eq!(messages(&bob).await, numbered("line", 0..120));

    // Whoever reads further up is told, not moved.
    bob.run("scroller.scrollTop = 0").await;
    stage.say(&stage.alice, "line 120").await;
    shows(&bob, "line 120").await;
    assert_eq!(bob.run("return scroller.scrollTop < 100").await, true);
    bob.click("#to-newest").await;
    bob.until(at_end).await;
}

#[tokio::test]
async fn the_keyboard_is_enough() {
    let stage = Stage::set().await;
    let page = Browser::start(Screen::Desktop).await;
    page.open(&format!("{}/", stage.system.http_url(0))).await;
    page.until("document.querySelectorAll('.person').length === 4").await;
    tab_to(&page, "#people li:nth-child(3) .person").await;
    page.press(ENTER).await;
    page.until(IS_ONLINE).await;

    tab_to(&page, "#create").await;
    page.press(ENTER).await;
    page.until("document.activeElement.id === 'channel-name'").await;
    page.press(&format!("Keys only{ENTER}")).await;
    page.until("document.querySelector('#room-name').textContent === 'Keys only'").await;

    tab_to(&page, "#composer-text").await;
    page.press(&format!("no mouse was used{ENTER}")).await;
    page.until("document.querySelector('.message.own:not(.pending, .failed)')").await;
    assert_eq!(messages(&page).await, ["no mouse was used"]);
    page.until("document.activeElement.id === 'composer-text'").await;
}

/// Goes there as a keyboard does. Whatever has the focus on the way must be seen to have it.
async fn tab_to(page: &Browser, selector: &str) {
    let selector = serde_json::to_string(selector).unwrap();
    for _ in 0..MOST_TABS {
        if page.run(&format!("return document.activeElement.matches({selector})")).await == true {
            return;
        }
        page.press(TAB).await;
        let marked = "const { outlineStyle, boxShadow } = getComputedStyle(document.activeElement.closest('.composer-row') ?? document.activeElement); return document.activeElement === document.body || outlineStyle !== 'none' || boxShadow !== 'none'";
        assert_eq!(page.run(marked).await, true, "the focus cannot be seen on the way to {selector}");
    }
    panic!("{selector} is not reached in {MOST_TABS} steps");
}

#[tokio::test]
async fn a_phone_shows_one_pane_at_a_time_and_never_scrolls_sideways() {
    let stage = Stage::set().await;
    stage.say(&stage.alice, &"averylongwordwithoutanybreak".repeat(20)).await;
    let bob = stage.sign_in(Screen::Phone, "bob", 1).await;
    let panes = "return ['.sidebar', '.room'].map((pane) => document.querySelector(pane).getClientRects().length > 0)";
    let fits = "document.documentElement.scrollWidth <= 360 && scroller.scrollWidth <= scroller.clientWidth";

    assert_eq!(bob.run("return innerWidth").await, 360);
    assert_eq!(bob.run(panes).await, serde_json::json!([true, false]));
    open_channel(&bob, stage.channel).await;
    bob.until("document.querySelectorAll('.message').length === 1").await;
    assert_eq!(bob.run(panes).await, serde_json::json!([false, true]));
    bob.until(fits).await;
    bob.click("#back").await;
    bob.until("document.querySelector('.sidebar').getClientRects().length > 0").await;
    assert_eq!(bob.run(panes).await, serde_json::json!([true, false]));
}
