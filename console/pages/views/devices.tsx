export default function X() {
  return <h1>devices</h1>
}
