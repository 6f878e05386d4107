"""What a webcam homework does: Haar cascade on every frame, crops as PNG, paho at QoS 1.

classic.py CLIP CASCADE PORT: reads the clip once, and prints frames, faces and seconds from the first frame until the
last crop is acknowledged, as JSON.
"""

import json
import sys
import time

import cv2
import paho.mqtt.client as mqtt

clip, cascade_file, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
cascade = cv2.CascadeClassifier(cascade_file)
if cascade.empty():
    sys.exit(f"{cascade_file} is no cascade")
client = mqtt.Client("classic")
client.connect("127.0.0.1", port)
client.loop_start()
video = cv2.VideoCapture(clip)
frames = faces = 0
waiting = []
start = time.monotonic()
while True:
    ok, frame = video.read()
    if not ok:
        break
    frames += 1
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    for x, y, w, h in cascade.detectMultiScale(grey, 1.3, 5):
        faces += 1
        _, png = cv2.imencode(".png", frame[y : y + h, x : x + w])
        waiting.append(client.publish("faces", png.tobytes(), qos=1))
for message in waiting:
    message.wait_for_publish()
print(json.dumps({"frames": frames, "faces": faces, "seconds": time.monotonic() - start}))
client.disconnect()
