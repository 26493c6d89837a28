use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, crypto};
use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::{Claims, Role, TokenIssuer};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const USER: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);

fn config() -> AuthConfig {
    AuthConfig { secret: SECRET.into(), ..AuthConfig::default() }
}

fn verify(token: &str) -> Result<Principal, TokenError> {
    TokenVerifier::new(&config()).unwrap().verify(token, NOW)
}

fn verify_claims(claims: &Value) -> Result<Principal, TokenError> {
    verify(&forge(r#"{"alg":"HS256"}"#, claims))
}

/// A token with any header, rightly signed with HMAC-SHA256 and the right secret.
fn forge(header: &str, claims: &Value) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = crypto::sign(message.as_bytes(), &EncodingKey::from_secret(SECRET.as_bytes()), Algorithm::HS256);
    format!("{message}.{}", signature.unwrap())
}

fn good_claims() -> Value {
    json!({"sub": USER, "exp": NOW.as_secs() + 60})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good_claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good_claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[test]
fn an_issued_token_is_accepted_with_all_it_says() {
    let mut claims = Claims::new(USER, NOW, 60);
    claims.preferred_username = Some("alice".to_owned());
    claims.roles = vec![Role::Admin];
    claims.authorities = vec!["reports:read".to_owned()];
    let token = TokenIssuer::new(&SECRET.into()).issue(&claims).unwrap();

    let principal = verify(token.expose_secret()).unwrap();

    assert!(principal.has_role(Role::Admin));
    assert!(!principal.has_role(Role::Service));
    let expected = Principal {
        user_id: USER,
        username: Some("alice".to_owned()),
        roles: vec![Role::Admin],
        authorities: vec!["reports:read".to_owned()],
        issued_at: Some(NOW),
        expires_at: UnixTime::from_secs(NOW.as_secs() + 60),
    };
    assert_eq!(principal, expected);
}

#[test]
fn unknown_roles_are_left_out() {
    let principal = verify_claims(&with("roles", json!(["ROOT", "SERVICE", "admin"]))).unwrap();
    assert_eq!(principal.roles, [Role::Service]);
}

#[test]
fn no_token_is_missing() {
    assert_eq!(verify(""), Err(TokenError::Missing));
}

#[test]
fn alg_none_is_refused_with_and_without_a_signature() {
    for alg in ["none", "None", "NONE"] {
        let signed = forge(&json!({"alg": alg}).to_string(), &good_claims());
        let unsigned = format!("{}.", signed.rsplit_once('.').unwrap().0);
        assert_eq!(verify(&signed).unwrap_err().code(), "TOKEN_INVALID");
        assert_eq!(verify(&unsigned).unwrap_err().code(), "TOKEN_INVALID");
    }
}

#[test]
fn another_hmac_with_the_right_secret_is_refused() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let token = jsonwebtoken::encode(&Header::new(algorithm), &good_claims(), &key).unwrap();
        assert_eq!(verify(&token), Err(TokenError::WrongAlgorithm));
    }
}

#[test]
fn a_header_that_asks_for_a_public_key_algorithm_is_refused() {
    for alg in ["RS256", "PS256", "ES256", "EdDSA"] {
        let token = forge(&json!({"alg": alg, "typ": "JWT"}).to_string(), &good_claims());
        assert_eq!(verify(&token), Err(TokenError::WrongAlgorithm), "{alg}");
    }
}

#[test]
fn a_header_cannot_bring_its_own_key() {
    let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode("the attacker's very own key of 32 bytes")});
    let header = json!({"alg": "HS256", "jwk": jwk}).to_string();
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(good_claims().to_string()));
    let key = EncodingKey::from_secret(b"the attacker's very own key of 32 bytes");
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    assert!(verify(&format!("{message}.{signature}")).is_err());
}

#[test]
fn an_unknown_critical_extension_is_refused() {
    let token = forge(r#"{"alg":"HS256","crit":["exp2"]}"#, &good_claims());
    assert_eq!(verify(&token), Err(TokenError::Malformed));
}

#[test]
fn another_secret_is_refused() {
    let other = TokenIssuer::new(&"another secret of at least 32 bytes".into());
    let token = other.issue(&Claims::new(USER, NOW, 60)).unwrap();
    assert_eq!(verify(token.expose_secret()), Err(TokenError::WrongSignature));
}

#[test]
fn a_changed_or_truncated_token_is_refused() {
    let token = forge(r#"{"alg":"HS256"}"#, &good_claims());
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let richer = URL_SAFE_NO_PAD.encode(with("roles", json!(["ADMIN"])).to_string());
    assert_eq!(verify(&format!("{header}.{richer}.{signature}")), Err(TokenError::WrongSignature));
    assert_eq!(verify(&format!("{header}.{claims}.")), Err(TokenError::WrongSignature));
    for len in 1..signature.len() {
        assert_eq!(verify(&format!("{header}.{claims}.{}", &signature[..len])).unwrap_err().code(), "TOKEN_INVALID");
    }
    assert_eq!(verify(&format!("{header}.{claims}")), Err(TokenError::Malformed));
    assert_eq!(verify(&format!("{token}.{signature}")).unwrap_err().code(), "TOKEN_INVALID");
}

#[test]
fn a_subject_that_is_no_user_id_is_refused() {
    assert_eq!(verify_claims(&without("sub")), Err(TokenError::NoSubject));
    assert_eq!(verify_claims(&with("sub", json!("alice"))), Err(TokenError::NoSubject));
    assert_eq!(verify_claims(&with("sub", json!(null))), Err(TokenError::NoSubject));
    assert_eq!(verify_claims(&with("sub", json!(7))), Err(TokenError::Malformed));
}

#[test]
fn expiry_is_required_and_leeway_is_exact() {
    assert_eq!(verify_claims(&without("exp")), Err(TokenError::NoExpiry));
    assert_eq!(verify_claims(&with("exp", json!("tomorrow"))), Err(TokenError::Malformed));
    assert!(verify_claims(&with("exp", json!(NOW.as_secs() - 9))).is_ok());
    assert_eq!(verify_claims(&with("exp", json!(NOW.as_secs() - 10))), Err(TokenError::Expired));
    assert_eq!(verify_claims(&with("exp", json!(i64::MIN))), Err(TokenError::Expired));
    assert!(verify_claims(&with("exp", json!(i64::MAX))).is_ok());
    assert!(verify_claims(&with("exp", json!(NOW.as_secs() as f64 + 0.5))).is_ok());
}

#[test]
fn not_before_is_kept_with_exact_leeway() {
    assert!(verify_claims(&with("nbf", json!(NOW.as_secs() + 10))).is_ok());
    assert_eq!(verify_claims(&with("nbf", json!(NOW.as_secs() + 11))), Err(TokenError::NotYetValid));
}

#[test]
fn a_token_knows_when_it_was_issued_to_the_millisecond_if_it_says_so() {
    let issued_at = |claims| verify_claims(&claims).map(|principal| principal.issued_at);
    assert_eq!(issued_at(with("iat", json!(NOW.as_secs()))), Ok(Some(NOW)));
    let fraction = UnixTime::from_millis(NOW.as_millis() - 250);
    assert_eq!(issued_at(with("iat", json!(1_799_999_999.75))), Ok(Some(fraction)));
    assert_eq!(issued_at(good_claims()), Ok(None));
    assert_eq!(issued_at(with("iat", json!("yesterday"))), Err(TokenError::Malformed));
}

#[test]
fn a_token_from_the_future_is_refused_with_exact_leeway() {
    assert!(verify_claims(&with("iat", json!(NOW.as_secs() + 10))).is_ok());
    assert_eq!(verify_claims(&with("iat", json!(NOW.as_secs() + 11))), Err(TokenError::NotYetValid));
}

#[test]
fn time_is_the_time_passed_in() {
    let token = forge(r#"{"alg":"HS256"}"#, &good_claims());
    let verifier = TokenVerifier::new(&config()).unwrap();
    assert!(verifier.verify(&token, NOW).is_ok());
    assert_eq!(verifier.verify(&token, UnixTime::from_secs(NOW.as_secs() + 70)), Err(TokenError::Expired));
}

#[test]
fn issuer_and_audience_must_fit_if_configured() {
    let config =
        AuthConfig { issuer: Some("https://id.test".to_owned()), audience: Some("app".to_owned()), ..config() };
    let verifier = TokenVerifier::new(&config).unwrap();
    let verify = |iss: Value, aud: Value| {
        let mut claims = with("iss", iss);
        claims["aud"] = aud;
        verifier.verify(&forge(r#"{"alg":"HS256"}"#, &claims), NOW)
    };
    let issuer = json!("https://id.test");
    assert!(verify(issuer.clone(), json!("app")).is_ok());
    assert!(verify(issuer.clone(), json!(["other", "app"])).is_ok());
    assert_eq!(verify(issuer.clone(), json!("other")), Err(TokenError::WrongAudience));
    assert_eq!(verify(issuer.clone(), json!([])), Err(TokenError::WrongAudience));
    assert_eq!(verify(issuer, Value::Null), Err(TokenError::WrongAudience));
    assert_eq!(verify(json!("https://evil.test"), json!("app")), Err(TokenError::WrongIssuer));
    assert_eq!(verify(Value::Null, json!("app")), Err(TokenError::WrongIssuer));
}

#[test]
fn an_oversized_token_is_refused_unread() {
    let token = forge(r#"{"alg":"HS256"}"#, &with("padding", json!("x".repeat(MAX_TOKEN_BYTES))));
    assert_eq!(verify(&token), Err(TokenError::TooLong));
}

#[test]
fn configuration_has_bounds() {
    let error = |config: &AuthConfig| TokenVerifier::new(config).err().unwrap().to_string();
    assert_eq!(error(&AuthConfig::default()), "auth.secret is missing; allowed: at least 32 bytes");
    let short = AuthConfig { secret: "short-secret".into(), ..config() };
    assert_eq!(error(&short), "auth.secret has 12 bytes; allowed: at least 32 bytes");
    let lax = AuthConfig { leeway: Duration::from_secs(121), ..config() };
    assert_eq!(error(&lax), "auth.leeway = 2m 1s; allowed: at most 2m");
}

#[test]
fn configuration_does_not_show_its_secret() {
    let secret = SecretString::from(SECRET);
    let config = AuthConfig { secret, ..config() };
    assert!(!format!("{config:?} {:?}", config.key_source()).contains(SECRET));
    assert_eq!(serde_json::to_value(&config).unwrap()["secret"], "***");
}

proptest! {
    #[test]
    fn any_text_is_refused_without_panic(token in ".{1,200}") {
        prop_assert!(verify(&token).is_err());
    }

    #[test]
    fn any_three_parts_are_refused_without_panic(parts in prop::array::uniform3(prop::collection::vec(any::<u8>(), 0..60))) {
        let token = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        prop_assert!(verify(&token).is_err());
    }

    #[test]
    fn one_changed_byte_is_refused(at in any::<prop::sample::Index>(), byte in b'0'..=b'9') {
        let token = forge(r#"{"alg":"HS256"}"#, &good_claims());
        let mut bytes = token.into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        prop_assert!(verify(std::str::from_utf8(&bytes).unwrap()).is_err());
    }

    #[test]
    fn signed_claims_of_any_shape_never_panic(
        name in prop::sample::select(vec!["sub", "exp", "nbf", "iat", "iss", "aud", "preferred_username", "roles", "authorities"]),
        value in prop_oneof![Just(json!(null)), any::<bool>().prop_map(|b| json!(b)), any::<i64>().prop_map(|n| json!(n)),
            any::<f64>().prop_map(|n| json!(n)), ".{0,20}".prop_map(|s| json!(s)), Just(json!([])), Just(json!({"a": 1}))],
    ) {
        if let Ok(principal) = verify_claims(&with(name, value)) {
            prop_assert_eq!(principal.user_id, USER);
        }
    }
}
