console.log("served by the pack");
