/** What is used of node-webcam, which brings no types. */
declare module 'node-webcam' {
  export interface Webcam {
    /** The command that takes a picture. */
    generateSh(location: string): string
    /** What the command's words say went wrong. */
    runCaptureValidations(said: string): Error | null
  }
  const NodeWebcam: {
    FSWebcam: new (options: {
      readonly width: number
      readonly height: number
      readonly quality: number
      readonly output: 'jpeg' | 'png'
      readonly device: string
      readonly skip: number
    }) => Webcam
  }
  export default NodeWebcam
}
