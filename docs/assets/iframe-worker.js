// Search from disk: browsers start no worker for a page that was opened as a file, so a hidden frame does its work.
// In: the address of a worker's script. Out: messages, as from a Worker.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.frame.title = "search"
      this.frame.srcdoc =
        '<script>self.postMessage = data => parent.postMessage(data, "*")</script>' +
        `<script src="${new URL(url, document.baseURI).href.replaceAll('"', "%22")}"></script>`
      this.frame.addEventListener("load", () => {
        this.ready = true
        for (const data of this.waiting.splice(0)) this.postMessage(data)
      })
      window.addEventListener("message", ({ source, data }) => {
        if (source === this.frame.contentWindow) this.dispatchEvent(new MessageEvent("message", { data }))
      })
      document.body.append(this.frame)
    }

    postMessage(data) {
      if (!this.ready) this.waiting.push(data)
      else this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }))
    }
  }
}
