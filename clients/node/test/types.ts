// Read by the compiler only: what users of TypeScript may write, and what they may not.
import { Body, CallError, CallOptions, Client, connect, methodNumber, Upload } from "../index.mjs";

export async function use(): Promise<void> {
  const client: Client = await connect("com.example.notes", { timeout: 1000 });
  const options: CallOptions = { method: 7, metadata: { trace: "00", user: new Uint8Array(2) }, timeout: 500 };
  const reply: Buffer = await client.call("milk", options);
  await client.call("{}", { method: methodNumber("Notes.list") });
  for await (const part of client.stream(reply)) part.toString();
  const upload: Upload = client.upload({ method: 8 });
  const bodies: Body[] = ["text", new Uint8Array(3), new ArrayBuffer(4), reply];
  for (const body of bodies) await upload.send(body);
  await upload.finish();
  await client.notify("news", { method: 1 });
  client.on("notification", (body, method) => body.toString() + method.toFixed());
  client.on("close", (why) => why.message);
  try {
    // @ts-expect-error a number is no body
    await client.call(7);
    // @ts-expect-error there is no such option
    await client.call("", { deadline: 7 });
    // @ts-expect-error connect returns it
    new Client();
  } catch (error) {
    if (error instanceof CallError && error.code === 404 && !error.notBegun) error.details.toString("hex");
  }
  client.close({ timeout: 100 });
  client.close();
}
