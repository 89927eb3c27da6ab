// Who is signed in: a token, kept in this tab or, if asked, on this device. It comes from the sign-in page by OAuth with
// PKCE, or is typed in.

import { ApiError } from "./api.js";

const TOKEN = "dropstone-token";
const CLIENT = "dropstone-web";
const FLOW = "dropstone-sign-in";

const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const drawn = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

/** The token that is kept, or null. */
export const kept = () => sessionStorage.getItem(TOKEN) ?? localStorage.getItem(TOKEN);

/** Keeps a token, for this tab or for longer. */
export function keep(token, stays) {
  forget();
  (stays ? localStorage : sessionStorage).setItem(TOKEN, token);
}

/** Keeps none. */
export function forget() {
  sessionStorage.removeItem(TOKEN);
  localStorage.removeItem(TOKEN);
}

/** Goes to the sign-in page; it comes back here with a code. */
export async function begin(stays) {
  const [verifier, state] = [drawn(), drawn()];
  sessionStorage.setItem(FLOW, JSON.stringify({ verifier, state, stays, hash: location.hash }));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  location.assign(`/oauth2/authorize?${new URLSearchParams({
    response_type: "code", client_id: CLIENT, redirect_uri: `${location.origin}/`, state,
    code_challenge: base64url(new Uint8Array(digest)), code_challenge_method: "S256",
  })}`);
}

/** Takes the code that the sign-in page gave, if it did: the token, or null. Errors: ApiError for a code that is none. */
export async function finish() {
  const told = new URLSearchParams(location.search);
  if (!told.has("code") && !told.has("error")) return null;
  const flow = JSON.parse(sessionStorage.getItem(FLOW) ?? "null");
  sessionStorage.removeItem(FLOW);
  history.replaceState(null, "", `${location.pathname}${flow?.hash ?? ""}`);
  if (told.has("error")) throw new ApiError(403, "You did not sign in.", null);
  if (flow === null || told.get("state") !== flow.state) throw new ApiError(400, "This sign-in was not begun here.", null);
  const response = await fetch("/oauth2/token", { method: "POST", body: new URLSearchParams({
    grant_type: "authorization_code", code: told.get("code"), client_id: CLIENT, code_verifier: flow.verifier,
    redirect_uri: `${location.origin}/`,
  }) });
  if (!response.ok) throw new ApiError(response.status, "The sign-in has ended meanwhile. Try again.", null);
  const { access_token: token } = await response.json();
  keep(token, flow.stays);
  return token;
}
