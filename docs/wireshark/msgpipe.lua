-- A dissector for Wireshark: files of `msgpipe tap --pcap`, of the link type USER0.
-- Made by scripts/make-dissector from the tables of docs/PROTOCOL.md; not to be changed by hand.
--
--     wireshark -X lua_script:msgpipe.lua FILE

local kinds = {
    [1] = "request",
    [2] = "data",
    [3] = "error",
    [4] = "abort",
    [5] = "stop",
    [6] = "cancel",
    [7] = "credit",
    [8] = "connection credit",
    [9] = "admit",
    [10] = "drain",
    [11] = "settings",
}

local error_codes = {
    [1] = "The handler of the request failed and gave no code of its own, or the side does not take such calls",
    [2] = "The handler gave no reply",
    [3] = "Too many calls are open, or there is no memory for another",
    [4] = "The side stops",
    [5] = "The reply is over the limit of the caller",
    [6] = "The reply was dropped: unread replies left no memory for it",
    [7] = "The workers of the server are busy, and as many requests wait for them as may",
    [8] = "All workers of the server wait, and one of them for this request",
    [9] = "A subscriber did not take what was published",
    [10] = "The request has several messages, and the server takes only requests of one",
    [11] = "The side does not show this to the caller",
    [12] = "The side has no such method",
    [13] = "The reply has several messages, and the call takes one",
}

local abort_codes = {
    [1] = "The sender gave up",
    [2] = "The call was cancelled",
    [3] = "The receiver had stopped this direction",
    [4] = "The deadline of the call has passed",
}

local settings = {
    [1] = "the largest body of a message that the sender takes",
    [2] = "the most calls of the peer that may be open",
    [3] = "the call window: the credit of each call and lane at its beginning",
    [4] = "the connection window: the credit of the connection at its beginning; at least the call window",
    [32769] = "name and version of the program, in UTF-8",
}

local methods = {
    [4294967040] = "ping",
    [4294967041] = "info",
    [4294967042] = "tap",
    [4294967043] = "describe",
}

local flags = {
    { 1, "end of message" },
    { 2, "end of stream" },
    { 4, "total" },
    { 8, "metadata" },
}

local msgpipe = Proto("msgpipe", "msgpipe")

local whats = {
    [0] = "a frame of the client",
    [1] = "a frame to the client",
    [2] = "a client has connected",
    [3] = "a connection has ended",
}

local f = {
    number = ProtoField.uint64("msgpipe.number", "Number"),
    time = ProtoField.uint64("msgpipe.time", "Microseconds since 1970"),
    connection = ProtoField.uint64("msgpipe.connection", "Connection"),
    what = ProtoField.uint8("msgpipe.what", "What", base.DEC, whats),
    text = ProtoField.string("msgpipe.text", "Text"),
    size = ProtoField.uint32("msgpipe.size", "Size of the frame"),
    kind = ProtoField.uint8("msgpipe.kind", "Kind", base.DEC, kinds),
    flags = ProtoField.uint8("msgpipe.flags", "Flags", base.HEX),
    code = ProtoField.uint16("msgpipe.code", "Code"),
    id = ProtoField.uint32("msgpipe.id", "Call, lane or connection"),
    method = ProtoField.uint32("msgpipe.method", "Method", base.DEC, methods),
    limit_ms = ProtoField.uint32("msgpipe.limit_ms", "Time in milliseconds"),
    credit = ProtoField.uint64("msgpipe.credit", "Credit limit"),
    shown = ProtoField.bytes("msgpipe.shown", "Fields and body, as shown"),
}
msgpipe.fields = f

local function flag_names(value)
    local set = {}
    for _, flag in ipairs(flags) do
        if math.floor(value / flag[1]) % 2 == 1 then
            set[#set + 1] = flag[2]
        end
    end
    return #set == 0 and "none" or table.concat(set, ", ")
end

local function settings_of(shown, tree)
    local at = 0
    while at + 4 <= shown:len() do
        local kind, size = shown(at, 2):le_uint(), shown(at + 2, 2):le_uint()
        if at + 4 + size > shown:len() then
            return
        end
        local value = shown(at + 4, size)
        local text = value:len() <= 8 and value:len() > 0 and tostring(value:le_uint64()) or value:string()
        tree:add(shown(at, 4 + size), (settings[kind] or "a setting") .. ": " .. text)
        at = at + 4 + size
    end
end

local function frame_of(bytes, tree)
    if bytes:len() < 20 then
        return "cut"
    end
    local size, kind, code = bytes(0, 4):le_uint(), bytes(4, 1):uint(), bytes(6, 2):le_uint()
    local id, first, second = bytes(8, 4):le_uint(), bytes(12, 4):le_uint(), bytes(16, 4):le_uint()
    local name = kinds[kind] or "unknown"
    local info = name .. " " .. id
    tree:add_le(f.size, bytes(0, 4))
    tree:add(f.kind, bytes(4, 1))
    tree:add(f.flags, bytes(5, 1)):append_text(" (" .. flag_names(bytes(5, 1):uint()) .. ")")
    local code_item = tree:add_le(f.code, bytes(6, 2))
    tree:add_le(f.id, bytes(8, 4))
    if name == "request" then
        tree:add_le(f.method, bytes(12, 4))
        tree:add_le(f.limit_ms, bytes(16, 4))
        info = info .. ", method " .. (methods[first] or first)
    elseif name == "data" and first ~= 0 then
        tree:add_le(f.method, bytes(12, 4))
        info = info .. ", method " .. first
    elseif name == "credit" or name == "connection credit" then
        tree:add_le(f.credit, bytes(12, 8))
        info = info .. ", up to " .. tostring(bytes(12, 8):le_uint64())
    elseif name == "error" or name == "abort" then
        local codes = name == "error" and error_codes or abort_codes
        code_item:append_text(" (" .. (codes[code] or "of the application") .. ")")
        info = info .. ", code " .. code
    end
    if bytes:len() > 20 then
        local shown = bytes(20)
        local item = tree:add(f.shown, shown)
        if name == "settings" then
            settings_of(shown, item)
        end
    end
    return info .. ", " .. size .. " bytes"
end

function msgpipe.dissector(buffer, pinfo, root)
    pinfo.cols.protocol = "msgpipe"
    local tree = root:add(msgpipe, buffer())
    if buffer:len() < 25 then
        pinfo.cols.info = "cut"
        return
    end
    tree:add_le(f.number, buffer(0, 8))
    tree:add_le(f.time, buffer(8, 8))
    tree:add_le(f.connection, buffer(16, 8))
    tree:add(f.what, buffer(24, 1))
    local connection, what = tostring(buffer(16, 8):le_uint64()), buffer(24, 1):uint()
    pinfo.cols.src = what == 1 and "server" or "connection " .. connection
    pinfo.cols.dst = what == 1 and "connection " .. connection or "server"
    if buffer:len() == 25 then
        pinfo.cols.info = whats[what] or "unknown"
    elseif what <= 1 then
        pinfo.cols.info = frame_of(buffer(25), tree)
    else
        tree:add(f.text, buffer(25))
        pinfo.cols.info = (whats[what] or "unknown") .. ": " .. buffer(25):string()
    end
end

DissectorTable.get("wtap_encap"):add(wtap.USER0, msgpipe)
