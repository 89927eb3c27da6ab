//! The content host of a block server that runs: its port, who is let in, and what it has not.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use stone::ca::tls_of_files;
use stone::{Host, Keys, Listener, Metaserver, Secret, Stone, listen, unknown};

use super::{content_of, router};
use crate::config::HttpsConfig;
use crate::server::StartError;
use crate::store::BlockStore;

/// Routes of other hosts that clients ask for most.
const ELSEWHERE: &[(&str, Host)] = &[
    ("files/upload_session/start_batch", Host::Api),
    ("files/upload_session/finish_batch", Host::Api),
    ("files/upload_session/finish_batch_v2", Host::Api),
    ("files/upload_session/finish_batch/check", Host::Api),
    ("files/get_metadata", Host::Api),
    ("files/list_folder", Host::Api),
    ("files/list_folder/continue", Host::Api),
    ("files/list_folder/longpoll", Host::Notify),
    ("users/get_current_account", Host::Api),
];

/// A port that is taken, with all that its calls need but the store.
pub(crate) struct ContentHost {
    listener: Listener,
    stone: Arc<Stone>,
}

impl ContentHost {
    /// Reads the secret and the certificate, and takes the port.
    pub(crate) fn open(config: &HttpsConfig, meta: Arc<dyn Metaserver>) -> Result<ContentHost, StartError> {
        let secret = Secret::load(&config.secret_file)?;
        let tls = tls_of_files(&config.certificate, &config.key)?;
        let listener = listen(config.listen, Some(tls))?;
        let stone = Stone::new(meta, Keys::new(&secret), false, config.www.clone());
        Ok(ContentHost { listener, stone: Arc::new(stone) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Serves until it is dropped.
    pub(crate) async fn serve(self, store: BlockStore) {
        let content = content_of(&self.stone, store);
        let routes = router(&self.stone, &content).fallback_service(Router::new().fallback(unknown(ELSEWHERE)));
        tokio::select! {
            ended = self.listener.serve(routes) => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the content host's port was lost");
                }
            }
            () = self.stone.auth.keep_fresh() => {}
        }
    }
}
