// Opens the page's one socket and starts all panels.

import { Demultiplexer } from "channels_demux_layer";

import * as chat from "./chat.js";
import { Connection } from "./connection.js";
import * as echo from "./echo.js";
import * as prices from "./prices.js";
import * as system from "./system.js";
import * as upload from "./upload.js";

const demux = new Demultiplexer("/ws/", { baseDelay: 500, maxDelay: 4000 });
const connection = new Connection(demux);
for (const part of [system, echo, prices, chat, upload]) part.start(connection);
