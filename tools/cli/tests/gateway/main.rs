//! The HTTP API as clients meet it: `dropstone dev` as a process, an HTTPS client with its certificate authority, two
//! accounts. Files come by the native client; what the API says of them is judged here.

mod coverage;
mod dev;
mod files;
mod sign_in;
mod sign_in_page;
mod tenants;
