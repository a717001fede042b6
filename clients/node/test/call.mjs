// One call at the path that is given, for tests/conformance_peer.rs.
import { connect } from "../index.mjs";

try {
  const client = await connect(process.argv[2]);
  await client.call("ping");
  client.close();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
