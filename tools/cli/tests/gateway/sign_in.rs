//! Tokens, scopes and the flow by which an app gets them.

use serde_json::json;
use stone::form::Form;
use stone::ids::base64url;
use stone::token::digest;

use crate::dev::{Api, dev};

const FORM: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];

#[test]
fn a_code_becomes_tokens_once_and_for_its_app_alone() {
    let dev = dev();
    let verifier = "a-verifier-that-is-long-enough-to-be-one-0123456789";
    let challenge = base64url(&digest(verifier));
    let authorize = |redirect: &str| {
        let query = format!(
            "response_type=code&client_id=app1&token_access_type=offline&code_challenge={challenge}\
             &code_challenge_method=S256&state=s%201{redirect}"
        );
        dev.send("GET", &format!("/oauth2/authorize?{query}"), &[], "")
    };
    let page = authorize("");
    let code = page.text.split("<code id=\"code\">").nth(1).and_then(|rest| rest.split('<').next()).expect("a code");
    let take = |verifier: &str| {
        let form = format!("grant_type=authorization_code&code={code}&client_id=app1&code_verifier={verifier}");
        dev.send("POST", "/oauth2/token", &FORM, &form)
    };
    let stolen = take("another-verifier");
    assert_eq!((stolen.status, &stolen.json()["error"]), (400, &json!("invalid_grant")));
    let granted = take(verifier).json();
    assert_eq!((&granted["token_type"], &granted["expires_in"]), (&json!("bearer"), &json!(14400)));
    assert_eq!(granted["account_id"].as_str().expect("an id").len(), 40);
    assert!(granted["uid"].is_string() && granted["scope"].as_str().expect("scopes").contains("files.content.write"));
    let api = Api { token: granted["access_token"].as_str().expect("a token").to_owned(), ..dev.owner() };
    api.ok("users/get_current_account", "");
    // The fields may stand in the URL, with an empty body.
    let refresh = granted["refresh_token"].as_str().expect("a refresh token");
    let query = format!("grant_type=refresh_token&refresh_token={refresh}&client_id=app1");
    let again = dev.send("POST", &format!("/1/oauth2/token?{query}"), &[], "").json();
    assert!(again["access_token"].is_string() && again.get("refresh_token").is_none());
    assert_eq!(take(verifier).status, 400, "a code is taken once");
    let void = dev.send("POST", &format!("/oauth2/token?{query}"), &[], "");
    assert_eq!(void.json()["error"], "invalid_grant", "and what it gave is void when it is taken again");
    let sent = authorize("&redirect_uri=http%3A%2F%2Flocalhost%3A99%2Fcb");
    let (target, fields) = sent.text.split_once('?').expect("a redirect");
    assert_eq!((sent.status, target, Form::parse(fields).get("state")), (302, "http://localhost:99/cb", Some("s 1")));
    assert_eq!(authorize("&redirect_uri=https%3A%2F%2Fevil.example%2F").status, 400);
}

#[test]
fn a_refresh_token_of_the_operator_serves_any_app_and_scopes_only_narrow() {
    let dev = dev();
    let refresh = |more: &str| {
        let form = format!("grant_type=refresh_token&refresh_token={}&client_id=x{more}", dev.refresh);
        dev.send("POST", "/oauth2/token", &FORM, &form)
    };
    let narrow = refresh("&scope=files.metadata.read").json();
    let api = Api { token: narrow["access_token"].as_str().expect("a token").to_owned(), ..dev.owner() };
    api.ok("files/list_folder", r#"{"path":""}"#);
    let refused = api.call("files/create_folder_v2", r#"{"path":"/n"}"#);
    assert_eq!((refused.status, refused.summary().as_str()), (401, "missing_scope/"));
    assert_eq!(refused.json()["error"]["required_scope"], "files.content.write");
    assert_eq!(refresh("&scope=no.such").status, 400);
    let wrong = dev.send("POST", "/oauth2/token", &FORM, "grant_type=refresh_token&refresh_token=x&client_id=x");
    assert_eq!(wrong.json()["error"], "invalid_grant");
}

#[test]
fn a_revoked_token_is_good_no_more() {
    let api = dev().account("revoker", None);
    api.ok("users/get_current_account", "null");
    assert_eq!(api.call("auth/token/revoke", "null").text, "null");
    let refused = api.call("users/get_current_account", "null");
    assert_eq!((refused.status, refused.summary().as_str()), (401, "invalid_access_token/"));
}

#[test]
fn an_app_shows_its_key_where_an_app_is_asked() {
    let dev = dev();
    let basic = [("authorization", "Basic YXBwOnNlY3JldA=="), ("content-type", "application/json")];
    let echoed = dev.send("POST", "/2/check/app", &basic, r#"{"query":"y"}"#);
    assert_eq!((echoed.status, echoed.json()), (200, json!({ "result": "y" })));
    assert_eq!(dev.send("POST", "/2/check/user", &basic, r#"{"query":"y"}"#).status, 400);
    assert_eq!(dev.owner().call("check/app", "{}").status, 400);
}
