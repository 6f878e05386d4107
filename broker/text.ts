/**
 * What MQTT calls a UTF-8 encoded string (3.1.1, 1.5.3), after it was decoded: U+FFFD stands where it was not well-formed,
 * and then the connection must be closed, as with U+0000 [MQTT-1.5.3-1, -2]. With the other control characters it may be;
 * here it is, so that no topic and no client id gives orders to whatever shows it.
 */
export const isText = (text: string): boolean => !/[\p{Cc}\ufffd]/u.test(text)
