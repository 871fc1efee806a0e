// Read from files, browsers allow no worker, and the search is one. Here it runs in a frame that nobody sees instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.documentElement.append(frame);
      const inside = frame.contentWindow;
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.ready = new Promise((resolve) => {
        const script = frame.contentDocument.createElement("script");
        script.src = url;
        script.onload = resolve;
        frame.contentDocument.body.append(script);
      });
      this.postMessage = async (data) => {
        await this.ready;
        inside.dispatchEvent(new MessageEvent("message", { data }));
      };
    }
  };
}
