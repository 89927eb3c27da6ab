// content_hash: SHA-256 over the SHA-256 of each block of 4 MiB.

export const BLOCK_BYTES = 4 << 20;

/** The content hash of bytes, as 64 hex digits. */
export async function contentHash(buffer) {
  const digests = [];
  for (let at = 0; at < buffer.byteLength; at += BLOCK_BYTES) {
    const block = new Uint8Array(buffer, at, Math.min(BLOCK_BYTES, buffer.byteLength - at));
    digests.push(new Uint8Array(await crypto.subtle.digest("SHA-256", block)));
  }
  const all = new Uint8Array(32 * digests.length);
  digests.forEach((digest, n) => all.set(digest, 32 * n));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", all));
  return [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
