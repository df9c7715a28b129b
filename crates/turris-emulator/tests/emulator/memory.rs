//! Tests that an emulator can run for days: its memory does not grow with the connections it has had.

use allocation_counter::measure;
use tokio::net::TcpStream;
use turris_emulator::Emulator;

use super::builder;

/// Opens and closes `count` connections, one after another.
async fn open_and_close(emulator: &Emulator, count: usize) {
    for _ in 0..count {
        let before = emulator.counters().connections;
        drop(TcpStream::connect(emulator.address().unwrap()).await.unwrap());
        emulator.until(|counters| counters.connections > before && counters.open_connections == 0).await;
    }
}

#[test]
fn an_ended_connection_leaves_no_memory_in_use() {
    const CONNECTIONS: usize = 500;
    // All tasks run on this thread, whose allocations are counted.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let emulator = runtime.block_on(builder().start()).unwrap();
    // The first connections fill buffers that are kept, such as the queue of the runtime.
    runtime.block_on(open_and_close(&emulator, 20));
    let left = measure(|| runtime.block_on(open_and_close(&emulator, CONNECTIONS))).bytes_current;
    // An ended task takes more than 100 bytes until it is removed.
    assert!(left < 20 * CONNECTIONS as i64, "{left} bytes after {CONNECTIONS} connections");
}
